"""The tokens that begin and end a text."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lmfst.ground.errors import ModelError
from lmfst.lm.chat import opens_a_role
from lmfst.lm.default import DEFAULT_MODEL, default_model_dir
from lmfst.lm.load import load_lm
from tests.support.tiny import CHATML, change, make_folder, make_gguf

START = "<|im_start|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("tiny") / "model", chat_template=CHATML)


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def load(path: Path | str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """(facts of a model, warnings)."""
    said: list[str] = []
    return load_lm(str(path), warn=said.append, **options).describe(), said


# Chat templates, shortened: the ways in which messages begin.

MARKERS = [
    CHATML,
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content }}{% endfor %}",
    '{%- for m in messages %}{{- "<|im_start|>" + (m["role"]) + "\\n" }}{%- endfor %}',
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}",
    "{% for m in messages %}{{ '<|im_start|>' }}{{ m.get('role') }}{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "<|im_start|>system\nYou are helpful.<|im_end|>\n",
    "{%- for m in messages -%}<|im_start|>{% if m.role == 'user' %}user{% else %}assistant"
    "{% endif %}\n{{ m.content }}{%- endfor -%}",
    "{% for m in messages %}{{ bos_token + m['role'] + '\\n' + m['content'] }}{% endfor %}",
    "{% for m in messages %}{{ bos_token }}{{ m.role }}: {{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if not loop.first %}{{ bos_token }}{% endif %}{{ m.role }}"
    "{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{{ x }}{% else %}{{ bos_token }}{% endif %}"
    "{{ m.role }}{% endfor %}",
    "{% for m in messages %}{# the role #}{{ bos_token }}{# is next #}{{ m.role }}{% endfor %}",
    "{% set system = 'It\\'s {{' %}{{ bos_token }}user: {{ m.content }}",
]
BEGINNINGS = [
    "",
    # Llama 2 and Mistral.
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] "
    "+ ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}"
    "{% endfor %}",
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) "
    "%}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% if m['role'] == "
    "'user' %}{{ '[INST] ' + m['content'] }}{% endif %}{% endfor %}",
    "<|im_start|>[INST] {{ messages[0]['content'] }} [/INST]",
    # Llama 3.
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>' + m['content'] %}{% if loop.index0 == 0 %}{% set content = bos_token + "
    "content %}{% endif %}{{ content }}{% endfor %}",
    "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n{{- '<|start_header_id|>system"
    "<|end_header_id|>' }}\n{%- endif %}",
    # Gemma.
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}"
    "{% endif %}{% for m in messages %}{{ '<start_of_turn>' + m['role'] }}{% endfor %}",
    # Phi 3, DeepSeek, OpenChat, and plain names of roles after a beginning.
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' }}{% endif %}"
    "{% endfor %}",
    "{% if not add_generation_prompt is defined %}{% set x = false %}{% endif %}{{ bos_token }}"
    "{{ ns.system_prompt }}{%- for m in messages %}{{ '<|User|>' + m['content'] }}{% endfor %}",
    "{{ bos_token }}{% for m in messages %}{{ 'GPT4 Correct ' + m['role'].title() }}{% endfor %}",
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}",
    # A variable that has the name of a role, comments, the first message of all.
    "{{ bos_token }}{{ system }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "{{ bos_token + system }}",
    "{# bos_token user: the role #}{{ bos_token }}{% for m in messages %}{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{{ m['role'] + ': ' }}"
    "{% endfor %}",
    "{%- for m in messages %}{%- if m.x %}{%- elif loop.index0 == 0 -%}{{ bos_token }}{% endif %}"
    "{{ m['role'] + ': ' }}{% endfor %}",
    # The end of a message, and what is next after all of them.
    "{% for m in messages %}{{ m.content + bos_token }}{% endfor %}{% if add_generation_prompt %}"
    "{{ 'assistant: ' }}{% endif %}",
    # The marker of a role is another token.
    "{% for m in messages %}{{ '<|im_end|>' + m['role'] }}{% endfor %}",
]


@pytest.mark.parametrize("template", MARKERS)
def test_chat_markers(template: str) -> None:
    assert opens_a_role(template, START, True)
    assert opens_a_role(template, START, False) == (START in template)


@pytest.mark.parametrize("template", BEGINNINGS)
def test_beginnings_of_conversations_are_no_chat_markers(template: str) -> None:
    assert not opens_a_role(template, START, True)


@pytest.mark.parametrize(
    "part", [START, START + " ", " ", "{%" + START, "{#", "{{'" + START, "'{{", "{% for " + START]
)
def test_no_template_takes_long(part: str) -> None:
    for template in (START + " " * 100_000, "{% for m in x %}" + part * 30_000):
        begin = time.perf_counter()
        opens_a_role(template, START, True)
        assert time.perf_counter() - begin < 5


def test_a_chat_marker_as_begin_token_gets_a_warning(model: Path) -> None:
    change(model / "tokenizer_config.json", bos_token=START)
    facts, said = load(model)
    assert facts["bos"] == START, "said, not changed"
    assert len(said) == 1 and f"begins a text with {START}" in said[0]
    assert "--bos '<|endoftext|>'" in said[0]
    assert load(model, bos="<|endoftext|>")[1] == []
    assert load(model, bos=START)[1] == [], "asked for by name"


def test_templates_are_not_rendered(model: Path) -> None:
    change(model / "tokenizer_config.json", bos_token=START)
    broken = "{% for m in messages %}{{ '<|im_start|>' + m.role }}{{ 1 / 0 }}{% nonsense"
    (model / "chat_template.jinja").write_text(broken)
    assert "begins a text" in load(model)[1][0]


def test_several_templates(model: Path) -> None:
    change(model / "tokenizer_config.json", bos_token=START)
    (model / "chat_template.jinja").write_text("{{ bos_token }}[INST]")
    assert load(model)[1] == []
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tools.jinja").write_text(CHATML)
    assert len(load(model)[1]) == 1


def test_a_model_without_a_better_begin_token(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "model", special=False, chat_template=CHATML, bos_token=START)
    change(path / "tokenizer_config.json", eos_token="<|im_end|>")
    said = load(path)[1]
    assert len(said) == 1 and "see its description" in said[0] and "'" not in said[0].split(";")[-1]


def test_the_default_model_gets_none() -> None:
    facts, said = load(DEFAULT_MODEL)
    assert said == []
    assert facts["bos"] == "<|endoftext|>" and facts["eos"] == ["<|endoftext|>", "<|im_end|>"]
    template = (default_model_dir(print) / "chat_template.jinja").read_text()
    assert opens_a_role(template, START, False) and not opens_a_role(template, facts["bos"], True)


def test_gguf_files(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "marker.gguf", bos=1, eos=2, template=CHATML)
    facts, said = load(path)
    assert (facts["bos"], facts["eos"]) == (START, ["<|im_end|>"])
    assert len(said) == 1 and "--bos '<|endoftext|>'" in said[0]
    path = make_gguf(tmp_path / "plain.gguf", bos=0, eos=2, template=CHATML)
    facts, said = load(path)
    assert (facts["bos"], said) == ("<|endoftext|>", [])


def test_gguf_files_without_ends(tmp_path: Path) -> None:
    # transformers' class of this architecture has the defaults 1 and 2.
    with pytest.raises(ModelError, match="no begin-of-text token"):
        load(make_gguf(tmp_path / "no-bos.gguf", bos=None, eos=0, template=None))
    with pytest.raises(ModelError, match=r"no end-of-text token(.|\n)*tokenizer.ggml.eos_token_id"):
        load(make_gguf(tmp_path / "no-eos.gguf", bos=0, eos=None, template=None))


# Tokenizers without a begin token.


def without_bos(model: Path) -> None:
    for file in ("tokenizer_config.json", "config.json", "generation_config.json"):
        change(model / file, bos_token=None, bos_token_id=None)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_the_begin_token_that_a_file_names(model: Path, file: str) -> None:
    without_bos(model)
    # transformers' class of this architecture has the default 1.
    with pytest.raises(ModelError, match="no begin-of-text token"):
        load(model)
    change(model / file, bos_token_id=2)
    assert load(model)[0]["bos"] == "<|im_end|>"
    change(model / file, bos_token_id=1)
    facts, said = load(model)
    assert facts["bos"] == START and "--bos '<|endoftext|>'" in said[0]


def test_a_begin_token_that_is_no_special_token(model: Path) -> None:
    without_bos(model)
    change(model / "config.json", bos_token_id=70)
    with pytest.raises(ModelError, match="no begin-of-text token"):
        load(model)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("value", [259, -1, "0", True, [0], 0.5])
def test_damaged_begin_tokens(model: Path, file: str, value: Any) -> None:
    without_bos(model)
    change(model / file, bos_token_id=value)
    with pytest.raises(ModelError, match="bos_token_id"):
        load(model)


def test_what_a_class_of_tokenizers_has_by_default_counts(model: Path) -> None:
    without_bos(model)
    for file in ("tokenizer_config.json", "config.json", "generation_config.json"):
        change(model / file, eos_token=None, eos_token_id=None)
    (model / "special_tokens_map.json").unlink(missing_ok=True)
    change(model / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    facts, _ = load(model)
    assert (facts["bos"], facts["eos"]) == ("<|endoftext|>", ["<|endoftext|>"])


# End tokens.


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(
    "value", ["0", [0, "2"], [[0]], True, 1.5, {"id": 0}, -1, 259, [0, 259], []]
)
def test_damaged_end_tokens(model: Path, file: str, value: Any) -> None:
    if file == "config.json":
        (model / "generation_config.json").unlink()
    change(model / file, eos_token_id=value)
    with pytest.raises(ModelError, match="eos_token_id"):
        load(model)


def test_which_file_names_the_end_tokens(model: Path) -> None:
    change(model / "generation_config.json", eos_token_id=[2, 0])
    change(model / "config.json", eos_token_id=1)
    change(model / "tokenizer_config.json", eos_token="<|im_end|>")
    assert load(model)[0]["eos"] == ["<|im_end|>", "<|endoftext|>"]
    change(model / "generation_config.json", eos_token_id=None)
    assert load(model)[0]["eos"] == [START], "the configuration's"
    (model / "generation_config.json").unlink()
    assert load(model)[0]["eos"] == [START], "the configuration's"
    change(model / "config.json", eos_token_id=None)
    assert load(model)[0]["eos"] == ["<|im_end|>"], "the tokenizer's"
    change(model / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="names no end-of-text token"):
        load(model)
