"""The manifest against the models of Argo's own schema, and its command against quantctl."""

import os
import pathlib
import subprocess

import pytest
import yaml
from hera.workflows import models

MANIFEST = pathlib.Path(__file__).parent / "quantize.yaml"
TINY = ["--eval-windows", "2", "--seq-len", "64"]


def manifest():
    return yaml.safe_load(MANIFEST.read_text("utf-8"))


def parsed(data):
    """What Argo's schema makes of it, as plain data."""
    template = models.WorkflowTemplate.model_validate(data)
    return template.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def test_the_schema_knows_every_field():
    """What the schema does not know would be missing here."""
    assert parsed(manifest()) == manifest()


def test_the_check_finds_what_is_wrong():
    wrong = manifest()
    wrong["spec"]["templates"][0]["container"]["volumeMount"] = []
    assert parsed(wrong) != wrong
    worse = manifest()
    worse["spec"]["templates"][0]["container"]["args"] = "--bits"
    with pytest.raises(ValueError, match="args"):
        parsed(worse)


def test_every_parameter_is_there():
    spec = manifest()["spec"]
    text = MANIFEST.read_text("utf-8")
    (template,) = spec["templates"]
    assert spec["entrypoint"] == template["name"]
    for parameter in template["inputs"]["parameters"]:
        assert f"{{{{inputs.parameters.{parameter['name']}}}}}" in text
    asked = {parameter["name"] for parameter in spec["arguments"]["parameters"]}
    assert asked == {parameter["name"] for parameter in template["inputs"]["parameters"]}
    mounts = {mount["name"] for mount in template["container"]["volumeMounts"]}
    assert mounts == {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}


@pytest.mark.parametrize(("max_kl", "code"), [("0.5", 0), ("0.0001", 4)])
def test_the_command_runs(tmp_path, max_kl, code):
    """With the parameters filled in, as Argo would, and the volume in a folder."""
    container = manifest()["spec"]["templates"][0]["container"]
    values = {"model": os.environ["QUANTD_MODEL"], "method": "rtn", "bits": "4", "max-kl": max_kl}
    words = []
    for word in container["command"] + container["args"]:
        for name, value in values.items():
            word = word.replace(f"{{{{inputs.parameters.{name}}}}}", value)
        words.append(word.replace("/quantized", str(tmp_path)))
    done = subprocess.run([*words, *TINY], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    (report,) = manifest()["spec"]["templates"][0]["outputs"]["artifacts"]
    assert pathlib.Path(report["path"].replace("/quantized", str(tmp_path))).is_file()
