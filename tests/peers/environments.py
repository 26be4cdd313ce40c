"""Makes and finds the environments that the peers run in.

Four folders below one: `others` (GPTQModel, AutoRound, hqq and our evaluation), `llm-compressor`
(whose releases of torch and transformers exclude theirs), `autoawq` (an old torch and
transformers), `llama.cpp` (its programs). About 18 GB, 12 without AutoAWQ: torch cannot be imported
without the libraries of CUDA, although nothing here uses a GPU.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Arguments of `uv pip install`, one call after the other.
PIP_CALLS = {
    "autoawq": [["-r", "requirements-autoawq-torch.txt"], ["-r", "requirements-autoawq.txt"]],
    "others": [["-r", "requirements-others.txt"],
               ["--no-deps", "--no-build-isolation", "-r", "requirements-others-hqq.txt"],
               ["--no-build-isolation", "-r", "requirements-others-gptqmodel.txt"]],
    "llm-compressor": [["-r", "requirements-llmcompressor.txt"]],
}
UV = "uv==0.13.9"

IMPORTS = {
    "autoawq": "awq",
    "others": "hqq, auto_round, gptqmodel, gguf",
    "llm-compressor": "llmcompressor, compressed_tensors",
}
LLAMA_CPP = "llama-cpp-python==0.3.36"  # its source package holds the whole of llama.cpp
LLAMA_CPP_PROGRAMS = ["llama-quantize", "llama-imatrix"]
LLAMA_CPP_OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON",
                     "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                     "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF",
                     "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"]


def default_folder():
    cache = os.environ.get("QUANTD_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "quantd")
    return os.path.join(cache, "peers")


def of_tool(tool):
    """The name of the environment that a Python tool runs in."""
    return tool if tool in ("autoawq", "llm-compressor") else "others"


def settings(threads):
    """The environment variables of everything that is run here: no GPU, no network. Threads that
    wait sleep: where others use the machine, spinning ones cost llm-compressor twenty times its
    time. GPTQModel dies on two cores with the number of workers that it takes by itself."""
    more = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS",
                                            "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    return dict(os.environ, **more, CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false",
                OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0", GPTQMODEL_CPU_WORKERS="2",
                HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1",
                TRANSFORMERS_VERBOSITY="error", PYTHONWARNINGS="ignore")


def python_of(folder, name):
    """The interpreter of an environment, or None when it was not made."""
    path = os.path.join(folder, name, "bin", "python")
    return path if os.path.exists(path) else None


def llama_cpp(folder):
    """The folder of llama.cpp's programs, or None."""
    path = os.path.join(folder, "llama.cpp", "bin")
    return path if os.path.exists(os.path.join(path, LLAMA_CPP_PROGRAMS[0])) else None


def make_python(folder, name):
    target = os.path.join(folder, name)
    python = os.path.join(target, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", target], check=True)
    # What is built there finds its tools there.
    path = os.pathsep.join([os.path.join(target, "bin"), os.environ["PATH"]])
    more = dict(os.environ, DISABLE_CUDA="1", BUILD_CUDA_EXT="0", CUDA_VISIBLE_DEVICES="",
                GPTQMODEL_CPU_WORKERS="2", PATH=path)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", UV],
                   check=True)
    for arguments in PIP_CALLS[name]:
        command = [os.path.join(target, "bin", "uv"), "pip", "install", "-q", "--python", python,
                   *arguments]
        subprocess.run(command, check=True, cwd=HERE, env=more)
    check = f"import {IMPORTS[name]}; from transformers import LlamaForCausalLM"
    subprocess.run([python, "-W", "ignore", "-c", check], check=True, env=more)


def make_llama_cpp(folder):
    target = os.path.join(folder, "llama.cpp")
    source = os.path.join(target, "source")
    if not os.path.exists(source):
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary",
                        ":all:", "-d", target, LLAMA_CPP], check=True)
        (package,) = [name for name in os.listdir(target) if name.endswith(".tar.gz")]
        os.makedirs(f"{source}.part")
        subprocess.run(["tar", "-xzf", os.path.join(target, package), "-C", f"{source}.part",
                        "--strip-components=1"], check=True)
        os.rename(f"{source}.part", source)
    subprocess.run(["cmake", "-G", "Ninja", "-S", f"{source}/vendor/llama.cpp", "-B", target,
                    *LLAMA_CPP_OPTIONS], check=True)
    subprocess.run(["ninja", "-C", target, *LLAMA_CPP_PROGRAMS], check=True)


def make(folder, names):
    """Makes those that are named, or brings them up to date."""
    os.makedirs(folder, exist_ok=True)
    for name in names:
        print(f"== {name}, in {folder}", flush=True)
        if name == "llama.cpp":
            make_llama_cpp(folder)
        else:
            make_python(folder, name)
