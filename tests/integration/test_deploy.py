"""deploy/: what the compose file starts, started here as processes from the same file; rules and
dashboards against a real Prometheus that scrapes it."""

import json
import signal
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest
import yaml

from programs import MODELS, ROOT, TINY, Quantctl, environment, program, run
from waiting import until

DEPLOY = ROOT / "deploy"
ADVICE = "./dev setup installs it"


def compose():
    with open(DEPLOY / "compose.yaml", encoding="utf-8") as file:
        return yaml.safe_load(file)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command, folder, name):
    with open(folder / f"{name}.log", "ab") as log:
        return subprocess.Popen([str(part) for part in command], stdout=log, stderr=log,
                                stdin=subprocess.DEVNULL, env=environment(), cwd=folder)


class Composed:
    """The services `quantd` and `prometheus` of the compose file, on ports and folders of ours."""

    def __init__(self, folder, prometheus):
        services = compose()["services"]
        self.folder = folder
        self.ports = {name: free_port() for name in ("8470", "8471", "9090")}
        (folder / "data").mkdir()
        server = [self.own(argument) for argument in services["quantd"]["command"]]
        self.processes = [start([program("quantd"), *server], folder, "quantd")]
        self.write_scrape_config()
        scraper = [self.own(argument) for argument in services["prometheus"]["command"]]
        self.processes.append(start([prometheus, *scraper, "--web.listen-address",
                                     f"127.0.0.1:{self.ports['9090']}"], folder, "prometheus"))

    def own(self, argument):
        """An argument of the file with its paths and ports replaced by those of this test."""
        for inside, here in ((":/prometheus", ":/prometheus"), ("0.0.0.0:8470", self.at("8470")),
                             ("0.0.0.0:8471", self.at("8471")), ("=/data", f"={self.folder}/data"),
                             ("=/models", f"={MODELS}"), ("=/prometheus", f"={self.folder}/tsdb"),
                             ("/etc/prometheus/", f"{self.folder}/prometheus/")):
            argument = argument.replace(inside, here)
        return argument

    def at(self, port):
        return f"127.0.0.1:{self.ports[port]}"

    def write_scrape_config(self):
        """The file of deploy/, but for the address and the interval, which is a test's patience."""
        (self.folder / "prometheus").mkdir()
        text = (DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8")
        assert "quantd:8471" in text and "15s" in text
        text = text.replace("quantd:8471", self.at("8471")).replace("15s", "1s")
        (self.folder / "prometheus" / "prometheus.yaml").write_text(text, "utf-8")
        rules = (DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8")
        (self.folder / "prometheus" / "alerts.yaml").write_text(rules, "utf-8")

    def ask(self, path, **query):
        url = f"http://{self.at('9090')}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(60)


@pytest.fixture(scope="module")
def composed(tool, tmp_path_factory):
    running = Composed(tmp_path_factory.mktemp("deploy"), tool("prometheus", ADVICE))
    yield running
    running.stop()


def test_a_job_runs_and_every_panel_has_data(composed):
    home = composed.folder / "home"
    home.mkdir()
    quantctl = Quantctl(composed.at("8470"), home)
    until(lambda: quantctl("version").returncode == 0, "the health check to pass")
    quantctl.ok("quantize", MODELS / "books-3m", "--method", "rtn", "--out", "first", *TINY)

    def seen():
        answer = composed.ask("query", query="quantd_task_duration_seconds_count")
        return answer and answer["result"]

    until(seen, "a scrape that has the first job")
    # Rates are of what comes after it.
    for method in ("rtn", "int8"):
        quantctl.ok("quantize", MODELS / "books-3m", "--method", method, "--out", method,
                    "--no-cache", *TINY)
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "overview.json").read_text("utf-8"))
    queries = [(panel["title"], target["expr"])
               for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= 14

    def without_data():
        empty = []
        for title, query in queries:
            data = composed.ask("query", query=query)
            values = [sample["value"][1] for sample in data["result"]] if data else []
            if not values or all(value == "NaN" for value in values):
                empty.append(f"{title}: {query}")
        return empty

    until(lambda: quantctl("jobs", "list") and not without_data(), "every panel to have data",
          seconds=60)


def test_rules_are_loaded_and_quiet(composed):
    groups = until(lambda: composed.ask("rules"), "the rules")["groups"]
    names = {rule["name"] for group in groups for rule in group["rules"]}
    assert names == {"QuantdDown", "QuantdQueueStuck", "QuantdAttemptsFail", "QuantdErrors"}
    assert not composed.ask("alerts")["alerts"]


def test_promtool_accepts_rules_and_scrape_config(tool):
    promtool = tool("promtool", ADVICE)
    folder = DEPLOY / "prometheus"
    for command in (["check", "config", "prometheus.yaml"], ["check", "rules", "alerts.yaml"],
                    ["test", "rules", "alerts_test.yaml"]):
        done = run([promtool, *command], cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_is_as_closed_as_it_says():
    services = compose()["services"]
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"
        assert ":" in service["image"] or "build" in service, f"{name}: no version"
    server = services["quantd"]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]
    mounted = {volume.removesuffix(":ro").rsplit(":", 1)[1] for volume in server["volumes"]}
    assert {"/data", "/models"} <= mounted
