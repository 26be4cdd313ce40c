"""The bar in a notebook, run by a real kernel."""

import pytest
from conftest import TINY
from server import MODEL

nbclient = pytest.importorskip("nbclient", reason="nbclient is not for this Python")

CELL = """
from quantd import Client
with Client({address!r}) as client:
    job = client.quantize({model!r}, **{options!r}, no_cache=True).wait()
job.state.value
"""


@pytest.mark.filterwarnings("default")
def test_a_bar_in_a_notebook(server):
    import nbformat

    cell = nbformat.v4.new_code_cell(
        CELL.format(address=server.address, model=str(MODEL), options=TINY))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output.data for output in notebook.cells[0].outputs if "data" in output]
    assert shown[-1]["text/plain"] == "'succeeded'"
    widget = "application/vnd.jupyter.widget-view+json"
    assert any(widget in data for data in shown), "tqdm's bar is a widget"
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    bars = [one["state"] for one in states.values()
            if one["model_name"] == "FloatProgressModel"]
    assert [(bar["value"], bar["max"]) for bar in bars] == [(4.0, 4.0)]
