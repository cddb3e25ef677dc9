"""What a model's files may not do: run code, or prompt."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.tiny import change, make_folder, make_gguf

# Code that a model brings, and the driver that loads models.

EVIL = """
import os, pathlib
pathlib.Path(os.environ["MARKERS"], {name!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class EvilConfig(LlamaConfig):
    model_type = "evil"
class EvilModel(LlamaForCausalLM):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
def generate(model, *args, **kwargs):
    return None
"""
KERNELS = """
import os, pathlib
class Stub:
    def __init__(self, *args, **kwargs): pass
    def __call__(self, *args, **kwargs): return args[0] if args else self
    def __getattr__(self, name): return Stub()
def use_kernel_forward_from_hub(*names):
    return lambda whatever: whatever
use_kernelized_func = use_kernel_forward_from_hub
def get_kernel(name, *args, **kwargs):
    pathlib.Path(os.environ["MARKERS"], "kernel-" + name.replace("/", "-")).touch()
    raise FileNotFoundError(name)
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Stub()
"""
DRIVER = """
import contextlib, io, json, os, sys
from lmfst.cli import main
results = {}
for name in sorted(os.listdir(sys.argv[1])):
    source = os.open(sys.argv[2], os.O_RDONLY)
    target = os.open(name + ".out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(source, 0), os.dup2(target, 1)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False))
    path = os.path.join(sys.argv[1], name)
    if name.endswith("gguf"):
        path += "/model.gguf"
    sys.argv[3:] = []
    arguments = ["lmfst", "convert", "--level", "text", "--model", path]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        kept, sys.argv = sys.argv, arguments
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.argv = kept
    sys.stdout.flush()
    results[name] = {"code": code, "err": said.getvalue()}
from transformers.integrations import hub_kernels
with contextlib.suppress(ImportError):
    hub_kernels.get_kernel("evil/quantiser", version=1)
hub_kernels.lazy_load_kernel("deep-gemm")
sys.stdin = io.StringIO("y\\n" * 9)
import transformers
inner = transformers.PretrainedConfig(auto_map={"AutoModel": "evil.EvilModel"})
inner.name_or_path = os.path.join(sys.argv[1], "own_model")
with contextlib.suppress(ValueError):
    transformers.AutoModel.from_config(inner)
with open("results.json", "w") as file:
    json.dump(results, file)
"""
# Processes of their own, which import transformers.
pytestmark = pytest.mark.slow

TEXT = "y\ny\ny\ny\n"


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str


def evil_auto_map(folder: Path, kinds: dict[str, Any], file: str = "config.json") -> None:
    change(folder / file, auto_map=kinds)


MODEL = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}
TOKENIZER = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}


def own_model(folder: Path) -> None:
    evil_auto_map(folder, MODEL)
    change(folder / "config.json", model_type="evil")


def own_model_that_asks_for_trust(folder: Path) -> None:
    own_model(folder)
    change(folder / "config.json", trust_remote_code=True)


def known_model(folder: Path) -> None:
    evil_auto_map(folder, MODEL)


def own_tokenizer(folder: Path) -> None:
    evil_auto_map(folder, TOKENIZER, "tokenizer_config.json")
    change(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer")


def own_tokenizer_in_a_list(folder: Path) -> None:
    own_tokenizer(folder)
    change(folder / "tokenizer_config.json", auto_map=["evil.EvilTokenizer", None])


def own_tokenizer_in_the_configuration(folder: Path) -> None:
    evil_auto_map(folder, TOKENIZER)
    change(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer")


def known_tokenizer(folder: Path) -> None:
    evil_auto_map(folder, TOKENIZER, "tokenizer_config.json")
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def own_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "evil.py", folder / "custom_generate" / "generate.py")
    change(folder / "generation_config.json", custom_generate=str(folder), trust_remote_code=True)


def attention_kernel(folder: Path) -> None:
    change(folder / "config.json", attn_implementation="kernels-community/flash-attn2")


def attention_kernel_inside(folder: Path) -> None:
    change(folder / "config.json", _attn_implementation="evil/attention:run")


def flash_attention(folder: Path) -> None:
    change(folder / "config.json", attn_implementation="flash_attention_2")


def other_outputs(folder: Path) -> None:
    more = {"output_attentions": True, "output_hidden_states": True, "return_dict": False}
    change(folder / "config.json", **more)


def all_kernels(folder: Path) -> None:
    change(
        folder / "config.json",
        use_kernels=True,
        kernel_config={"kernel_mapping": {"RMSNorm": "evil/norm:Norm"}},
        experts_implementation="evil/experts",
        allow_all_kernels=True,
    )


def pickled(folder: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            marker = 'pathlib.Path(os.environ["MARKERS"], "pickle").touch()'
            return exec, (f"import os, pathlib; {marker}",)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))


def pickled_and_said_to_be_safe(folder: Path) -> None:
    pickled(folder)
    change(folder / "config.json", use_safetensors=False, weights_only=False)


def pickled_shards(folder: Path) -> None:
    pickled(folder)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled_by_name(folder: Path) -> None:
    pickled(folder)
    (folder / "pytorch_model.bin").rename(folder / "adapter_model.bin")
    change(folder / "config.json", transformers_weights="adapter_model.bin")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')


def gguf(folder: Path) -> None:
    own_tokenizer(folder)
    make_gguf(folder / "model.gguf", bos=0, eos=0, template=None)


REFUSED: dict[Callable[[Path], None], tuple[str, ...]] = {
    own_model: ("config.json", "auto_map", "evil.EvilConfig", "runs no code"),
    own_model_that_asks_for_trust: ("config.json", "auto_map", "runs no code"),
    own_tokenizer: ("tokenizer_config.json", "auto_map", "evil.EvilTokenizer", "runs no code"),
    own_tokenizer_in_a_list: ("tokenizer_config.json", "auto_map", "evil.EvilTokenizer"),
    own_tokenizer_in_the_configuration: ("its config.json", "auto_map", "evil.EvilTokenizer"),
    pickled: ("pytorch_model.bin", "pickle", "safetensors"),
    pickled_and_said_to_be_safe: ("pytorch_model.bin", "pickle"),
    pickled_shards: ("weight_map in model.safetensors.index.json", "pickle"),
    pickled_by_name: ("transformers_weights in config.json", "pickle"),
    adapter: ("adapter_config.json", "merge"),
}
PASSED_OVER: dict[Callable[[Path], None], tuple[str, ...]] = {
    known_model: ("auto_map: evil.EvilConfig", "not run", "llama"),
    known_tokenizer: ("auto_map: evil.EvilTokenizer", "not run", "PreTrainedTokenizerFast"),
    own_generate: (),
    attention_kernel: ("attn_implementation in config.json", "passed over"),
    attention_kernel_inside: ("_attn_implementation in config.json", "passed over"),
    flash_attention: (),
    other_outputs: (),
    all_kernels: ("experts_implementation, use_kernels, kernel_config", "passed over"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Every folder through the command line, in one process of its own, `y` on stdin."""
    base = tmp_path_factory.mktemp("evil")
    plain = make_folder(base / "models" / "plain")
    for alter in (*REFUSED, *PASSED_OVER, gguf):
        folder = base / "models" / alter.__name__
        shutil.copytree(plain, folder)
        (folder / "evil.py").write_text(EVIL.format(name=alter.__name__))
        alter(folder)
    library = base / "library"
    (library / "kernels").mkdir(parents=True)
    (library / "kernels" / "__init__.py").write_text(KERNELS)
    version = _wanted_kernels()
    info = library / f"kernels-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kernels\nVersion: {version}\n")
    (base / "markers").mkdir()
    (base / "y.txt").write_text(TEXT)
    paths = os.pathsep.join((str(library), str(REPOSITORY), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(base / "models"), str(base / "y.txt")],
        cwd=base,
        env={
            **os.environ,
            "MARKERS": str(base / "markers"),
            "PYTHONPATH": paths,
            "HF_HOME": str(base),
        },
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert [path.name for path in (base / "markers").iterdir()] == [], "something ran"
    results = json.loads((base / "results.json").read_text())
    return {
        name: Run(found["code"], (base / f"{name}.out").read_text(), found["err"])
        for name, found in results.items()
    }


def _wanted_kernels() -> str:
    from transformers.utils import import_utils

    return str(import_utils.KERNELS_MIN_VERSION)


@pytest.mark.parametrize("alter", REFUSED, ids=lambda alter: alter.__name__)
def test_what_would_run_is_refused(runs: dict[str, Run], alter: Callable[[Path], None]) -> None:
    found = runs[alter.__name__]
    assert found.code == 1 and found.out == ""
    assert found.err.startswith("lmfst: error: ") and "hint: " in found.err
    for part in REFUSED[alter]:
        assert part in found.err


@pytest.mark.parametrize("alter", PASSED_OVER, ids=lambda alter: alter.__name__)
def test_what_is_not_needed_is_passed_over(
    runs: dict[str, Run], alter: Callable[[Path], None]
) -> None:
    found = runs[alter.__name__]
    assert found.code == 0 and found.out == runs["plain"].out
    assert ("warning" in found.err) == bool(PASSED_OVER[alter])
    for part in PASSED_OVER[alter]:
        assert part in found.err


def test_nothing_prompts(runs: dict[str, Run]) -> None:
    rows = runs["plain"].out.splitlines()
    assert len(rows) == 1 + TEXT.count("\n"), "each answer is a document"
    assert not any("[y/N]" in run.out + run.err for run in runs.values())


def test_a_gguf_file_is_read_alone(runs: dict[str, Run]) -> None:
    assert (runs["gguf"].code, runs["gguf"].err) == (0, "")


def test_an_answer_on_stdin_is_a_document(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "evil.py").write_text(EVIL.format(name="code"))
    own_model(folder)
    command = [sys.executable, "-c", "from lmfst.cli import main; main()", "convert"]
    done = subprocess.run(
        [*command, "--model", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "MARKERS": str(tmp_path)},
        input=b"y\n",
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"auto_map" in done.stderr and b"config.json" in done.stderr
    assert not (tmp_path / "code").exists()
