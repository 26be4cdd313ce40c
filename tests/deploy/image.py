"""Builds the images of deploy/Dockerfile without a daemon and runs a job in the server's.

    image.py --scratch FOLDER [--preset P] [--note FILE]

The base image is made by debootstrap and stands for debian:bookworm and its slim form; it trusts
what this machine trusts. Built and run by buildah with chroot isolation, which needs root and no
daemon. --note puts sizes and times, with the date, into a section of a page. Exit 1 if the job does
not run, or an image is larger than MOST_BYTES.
"""

import argparse
import datetime
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "style"))
import note  # noqa: E402

MOST_BYTES = 150e6
TARGETS = ("server", "worker")
JOB_SECONDS = 120


def run(*command, **options):
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, check=True, text=True, **options)


class Buildah:
    """The store of images in one folder."""

    def __init__(self, scratch):
        self.options = ["--root", os.path.join(scratch, "store"), "--runroot",
                        os.path.join(scratch, "run"), "--storage-driver", "vfs"]

    def __call__(self, *arguments, **options):
        return run("buildah", *self.options, *arguments, **options)

    def output(self, *arguments):
        return self(*arguments, capture_output=True).stdout.strip()

    def has(self, image):
        return subprocess.run(["buildah", *self.options, "inspect", "--type", "image", image],
                              capture_output=True, check=False).returncode == 0


def make_base(buildah, scratch):
    """An image of Debian 12 as debootstrap makes it, under both names that the Dockerfile uses."""
    names = ["docker.io/library/debian:bookworm", "docker.io/library/debian:bookworm-slim"]
    if all(buildah.has(name) for name in names):
        return
    root = os.path.join(scratch, "rootfs")
    if not os.path.exists(os.path.join(root, "etc", "debian_version")):
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", root)
    own = os.path.join(root, "usr", "local", "share", "ca-certificates")
    os.makedirs(own, exist_ok=True)
    for certificate in glob.glob("/usr/local/share/ca-certificates/*.crt"):
        shutil.copy(certificate, own)
    container = buildah.output("from", "scratch")
    mounted = buildah.output("mount", container)
    run("cp", "-a", root + "/.", mounted)
    buildah("umount", container, stdout=subprocess.DEVNULL)
    for name in names:
        buildah("commit", "--quiet", container, name, stdout=subprocess.DEVNULL)
    buildah("rm", container, stdout=subprocess.DEVNULL)


def build(buildah, target, preset):
    """(bytes of the image beyond nothing, seconds)."""
    begin = time.monotonic()
    cache = os.path.expanduser("~/.cache/ccache")
    os.makedirs(cache, exist_ok=True)
    buildah("bud", "--isolation", "chroot", "--pull-never", "--network", "host", "--format",
            "docker", "--layers", "--build-arg", f"PRESET={preset}", "--target", target,
            "--volume", f"{cache}:/ccache", "--build-arg", "CCACHE=/ccache",
            "--tag", f"quantd-{target}", "--file",
            os.path.join(ROOT, "deploy", "Dockerfile"), ROOT)
    seconds = time.monotonic() - begin
    container = buildah.output("from", "--pull-never", f"quantd-{target}")
    mounted = buildah.output("mount", container)
    size = int(run("du", "-sb", mounted, capture_output=True).stdout.split()[0])
    buildah("umount", container, stdout=subprocess.DEVNULL)
    buildah("rm", container, stdout=subprocess.DEVNULL)
    return size, seconds


def run_a_job(buildah):
    """Starts the server's image with its own command on loopback, and quantizes through it."""
    container = buildah.output("from", "--pull-never", "quantd-server")
    models = os.path.join(ROOT, "models")
    inside = ["run", "--isolation", "chroot", "--network", "host", "--volume",
              f"{models}:/models:ro", container, "--"]
    address = "127.0.0.1:18470"
    server = subprocess.Popen(
        ["buildah", *buildah.options, *inside, "quantd", "--listen", address, "--metrics",
         "127.0.0.1:18471", "--data", "/data", "--model-root", "/models", "--local-workers", "1"])
    try:
        quantctl = [*inside, "quantctl", "--server", address]
        deadline = time.monotonic() + JOB_SECONDS
        while subprocess.run(["buildah", *buildah.options, *quantctl, "version"],
                             capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline or server.poll() is not None:
                raise SystemExit("the server in the image does not answer")
            time.sleep(0.5)
        user = buildah.output(*inside, "id", "-u")
        if user != "10001":
            raise SystemExit(f"runs as user {user}")
        begin = time.monotonic()
        buildah(*quantctl, "quantize", "/models/books-3m", "--method", "awq", "--out",
                "/data/result", timeout=JOB_SECONDS)
        files = buildah.output(*inside, "ls", "/data/result")
        if "model.safetensors" not in files or "config.json" not in files:
            raise SystemExit(f"the result has only {files}")
        return time.monotonic() - begin
    finally:
        # The process of buildah is the parent of the server's: both get the signal.
        subprocess.run(["pkill", "-TERM", "-f", f"quantd --listen {address}"], check=False)
        server.wait(60)
        buildah("rm", container, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--scratch", required=True, help="folder that keeps the base image")
    parser.add_argument("--preset", default="release", help="of CMakePresets.json")
    parser.add_argument("--note", help="page that gets the table")
    arguments = parser.parse_args()
    os.makedirs(arguments.scratch, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        buildah = Buildah(arguments.scratch)
        make_base(buildah, arguments.scratch)
        rows = [(target, *build(buildah, target, arguments.preset)) for target in TARGETS]
        seconds = run_a_job(buildah)
    table = "| image | size, unpacked | build |\n|---|---|---|\n" + "\n".join(
        f"| {target} | {size / 1e6:.0f} MB | {took:.0f} s |" for target, size, took in rows)
    print(table)
    print(f"a job through the server's image: {seconds:.1f} s")
    if arguments.note:
        note.put(arguments.note, "image",
             f"## ./dev image\n\n{datetime.date.today().isoformat()}, preset {arguments.preset}, "
             f"base made by debootstrap (minbase), built and run by buildah with chroot isolation "
             f"as user 10001; one awq job through `quantctl` in the image: {seconds:.1f} s.\n\n"
             f"{table}")
    large = [target for target, size, _ in rows if size > MOST_BYTES]
    if large:
        print(f"larger than {MOST_BYTES / 1e6:.0f} MB: {', '.join(large)}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
