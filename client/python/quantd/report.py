"""quantd/report.json as dataclasses (docs/report.md)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple, Union

if TYPE_CHECKING:
    import pandas as pd

PATH = "quantd/report.json"
"""Where it lies in an artifact."""


@dataclass(frozen=True)
class Evaluation:
    """The quantized model against the original, on the evaluation text."""

    tokens: int
    """Predictions scored."""
    perplexity_original: float
    perplexity_quantized: float
    kl_mean: float
    """KL(original || quantized), nats per token."""
    kl_p99: float
    """99th percentile of the same."""
    top1_agreement: float
    """Share of positions where both like the same token best, 0 to 1."""

    @property
    def perplexity_ratio(self) -> float:
        """Quantized over original."""
        return self.perplexity_quantized / self.perplexity_original


@dataclass(frozen=True)
class Gate:
    """The quality gate, one line per limit."""

    passed: bool
    missed: Tuple[str, ...]
    limits: Tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One quantized linear."""

    name: str
    shape: Tuple[int, ...]
    """Outputs, inputs."""
    method: str
    bits: int
    group_size: int
    """0: channel or tensor."""
    symmetric: bool
    scale_rule: str
    weight_snr_db: float
    """999 when nothing was lost."""
    relative_output_error: Optional[float]
    """On sampled tokens; None without activations."""
    seconds: float
    figures: Dict[str, float] = field(default_factory=dict)
    """What the method chose or found, by name."""


@dataclass(frozen=True)
class Report:
    """What was done, how good it is, what it took."""

    engine_version: str
    model_name: str
    model_digest: str
    family: str
    parameters: int
    backend: str
    isa: str
    compute: str
    format: str
    bytes_original: int
    bytes_quantized: int
    bits_per_weight: float
    calibration_tokens: int
    evaluation: Optional[Evaluation]
    """None: not evaluated."""
    gate: Gate
    seconds: Dict[str, float]
    """Per stage, and "total"."""
    peak_rss_bytes: int
    layers: Tuple[Layer, ...]
    warnings: Tuple[str, ...]
    raw: Dict[str, Any] = field(repr=False)
    """All of the file, with what this class has no field for."""

    @property
    def compression_ratio(self) -> float:
        """Bytes of the tensors before over after."""
        return self.bytes_original / self.bytes_quantized if self.bytes_quantized else 0.0

    @classmethod
    def from_json(cls, text: Union[str, bytes]) -> Report:
        """From the text of the file."""
        data: Dict[str, Any] = json.loads(text)
        model, machine = _section(data, "model"), _section(data, "machine")
        size, gate = _section(data, "size"), _section(data, "gate")
        return cls(
            engine_version=data.get("engine_version", ""),
            model_name=model.get("name", ""),
            model_digest=model.get("digest", ""),
            family=model.get("family", ""),
            parameters=model.get("parameters", 0),
            backend=machine.get("backend", ""),
            isa=machine.get("isa", ""),
            compute=machine.get("compute", ""),
            format=size.get("format", ""),
            bytes_original=size.get("bytes_original", 0),
            bytes_quantized=size.get("bytes_quantized", 0),
            bits_per_weight=size.get("bits_per_weight", 0.0),
            calibration_tokens=_section(data, "calibration").get("tokens", 0),
            evaluation=_evaluation(_section(data, "evaluation")),
            gate=Gate(gate.get("passed", True), tuple(gate.get("missed", ())),
                      tuple(gate.get("limits", ()))),
            seconds=dict(_section(data, "seconds")),
            peak_rss_bytes=data.get("peak_rss_bytes", 0),
            layers=tuple(_layer(entry) for entry in data.get("layers", ())),
            warnings=tuple(data.get("warnings", ())),
            raw=data,
        )

    @classmethod
    def load(cls, folder: Union[str, os.PathLike[str]]) -> Report:
        """From the folder of an artifact."""
        with open(os.path.join(folder, PATH), encoding="utf-8") as file:
            return cls.from_json(file.read())

    def metrics(self) -> Dict[str, float]:
        """The figures that one would log of a run, flat."""
        found = {
            "bits_per_weight": self.bits_per_weight,
            "compression_ratio": self.compression_ratio,
            "bytes_quantized": float(self.bytes_quantized),
            "seconds": self.seconds.get("total", 0.0),
            "peak_rss_bytes": float(self.peak_rss_bytes),
        }
        if self.evaluation is not None:
            found.update({name: float(value) for name, value in asdict(self.evaluation).items()})
            found["perplexity_ratio"] = self.evaluation.perplexity_ratio
        return found

    def to_pandas(self) -> pd.DataFrame:
        """One row per layer, `figures` as columns of their own; needs pandas (quantd[pandas])."""
        import pandas as pd

        rows = []
        for layer in self.layers:
            row = asdict(layer)
            row.update({f"figures.{k}": v for k, v in row.pop("figures").items()})
            row["out_features"], row["in_features"] = row.pop("shape")
            rows.append(row)
        frame: pd.DataFrame = pd.DataFrame(rows)
        return frame.set_index("name") if rows else frame


def _section(data: Mapping[str, Any], key: str) -> Dict[str, Any]:
    return data.get(key) or {}


def _evaluation(section: Mapping[str, Any]) -> Optional[Evaluation]:
    if "tokens" not in section:
        return None
    # JSON has no infinite numbers: "Infinity" stands for one.
    return Evaluation(
        tokens=section["tokens"],
        perplexity_original=float(section["perplexity_original"]),
        perplexity_quantized=float(section["perplexity_quantized"]),
        kl_mean=float(section["kl_mean"]),
        kl_p99=float(section["kl_p99"]),
        top1_agreement=float(section["top1_agreement"]),
    )


def _layer(entry: Mapping[str, Any]) -> Layer:
    return Layer(
        name=entry["name"],
        shape=tuple(entry.get("shape", ())),
        method=entry.get("method", ""),
        bits=entry.get("bits", 0),
        group_size=entry.get("group_size", 0),
        symmetric=entry.get("symmetric", True),
        scale_rule=entry.get("scale_rule", ""),
        weight_snr_db=entry.get("weight_snr_db", 0.0),
        relative_output_error=entry.get("relative_output_error"),
        seconds=entry.get("seconds", 0.0),
        figures=dict(entry.get("figures", {})),
    )
