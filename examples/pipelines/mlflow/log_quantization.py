"""One MLflow run per quantization: options, metrics, report, artifact, and the gate as a tag.

    python log_quantization.py MODEL --method awq --bits 4 --gate-kl 0.02
"""

import argparse
import pathlib
import tempfile

import mlflow
import quantd


def quantize_run(client, model, keep_model=True, **options):
    """Quantizes and logs; the id of the run. A missed gate is a finished run with a tag."""
    with mlflow.start_run() as run:
        mlflow.log_params({"model": str(model), **options})
        job = client.quantize(model, **options)
        mlflow.set_tag("quantd.job", job.name)
        try:
            job.wait()
        except quantd.QualityGateMissed as missed:
            mlflow.set_tag("quantd.gate", "missed")
            mlflow.set_tag("quantd.gate.missed", "; ".join(missed.missed))
        else:
            mlflow.set_tag("quantd.gate", "passed")
        report = job.report()
        mlflow.log_metrics(report.metrics())
        mlflow.log_table(report.to_pandas().reset_index(), "layers.json")
        with tempfile.TemporaryDirectory() as folder:
            out = job.download(pathlib.Path(folder) / "model")
            mlflow.log_artifact(str(out / "quantd" / "report.json"), "report")
            mlflow.log_artifact(str(out / "quantd" / "report.html"), "report")
            if keep_model:
                mlflow.log_artifacts(str(out), "model")
        return run.info.run_id


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--method", default="awq")
    parser.add_argument("--bits", type=float, default=4)
    parser.add_argument("--gate-kl", type=float)
    parser.add_argument("--eval-windows", type=int)
    options = vars(parser.parse_args())
    with quantd.Client() as client:
        model = options.pop("model")
        said = {key: value for key, value in options.items() if value is not None}
        print(quantize_run(client, model, **said))


if __name__ == "__main__":
    main()
