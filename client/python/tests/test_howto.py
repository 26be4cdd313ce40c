"""Every block of docs/howto/use-from-python.md, in order, as a reader would run it."""

import re

from server import MODEL, ROOT

PAGE = ROOT / "docs" / "howto" / "use-from-python.md"


def test_every_block_runs(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8").replace("host:8470", server.address)
    text = text.replace("/models/my-model", str(MODEL))
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 8
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "out" / "config.json").is_file()
    assert len(names["worst"]) == 3 and names["four"] > names["eight"] > 0
    printed = capsys.readouterr().out
    assert "model.layers.1.mlp.down_proj" in printed and "group_size 13" in printed
    assert "0.0001" in printed
