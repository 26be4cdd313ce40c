"""A Kubeflow Pipelines component that quantizes, and a pipeline that stops at its gate.

    python quantize_pipeline.py quantize.yaml      # to upload to a cluster
"""

import sys

from kfp import compiler, dsl

QUANTD = "quantd==0.1.0"  # in a registry that the cluster reaches


@dsl.component(base_image="python:3.12-slim", packages_to_install=[QUANTD])
def quantize(
    server: str,
    model: str,
    options: dict,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    quantized: dsl.Output[dsl.Model],
) -> float:
    """Quantizes a model; returns the mean KL to the original. A missed gate fails the step."""
    import quantd

    with quantd.Client(server) as client:
        job = client.quantize(model, **options).wait(progress=True)
        for name, value in job.report().metrics().items():
            metrics.log_metric(name, value)
        with open(report.path, "wb") as file:
            file.write(job.read("quantd/report.html"))
        job.download(quantized.path)
        quantized.metadata.update({"job": job.name, "format": job.result.format})
        return job.result.evaluation.kl_mean


@dsl.pipeline(name="quantize")
def quantize_pipeline(server: str, model: str, options: dict) -> float:
    """One step; what serves the model would follow it."""
    return quantize(server=server, model=model, options=options).outputs["Output"]


if __name__ == "__main__":
    compiler.Compiler().compile(quantize_pipeline, sys.argv[1])
