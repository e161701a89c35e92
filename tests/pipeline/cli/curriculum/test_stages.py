from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.curriculum.stages import TrainingStage, training_stages
from pipeline.packing.curriculum import read_curriculum_file
from schemas.errors import UsageError
from schemas.storage.location import Location, located


def stages(folder: Path, text: str, **options: Location) -> list[TrainingStage]:
    path = folder / "c.toml"
    path.write_text(text)
    return training_stages(
        read_curriculum_file(path), packed=located(folder / "ws" / "packed"), out=folder / "out", **options
    )


def test_a_stage_has_the_shared_options_and_its_own(tmp_path: Path) -> None:
    text = """
    [train]
    batch-size = 4
    steps = 10
    [train.model]
    rope-theta = 1e4
    dim = 32
    [[stage]]
    context = 64
    [[stage]]
    name = "long"
    context = 128
    [stage.train]
    batch_size = 2
    [stage.train.model]
    rope-theta = 1e6
    """
    first, second = stages(tmp_path, text)
    assert (first.config.batch_size, first.config.steps, first.config.model.rope_theta) == (4, 10, 1e4)
    assert (second.config.batch_size, second.config.steps, second.config.model.rope_theta) == (2, 10, 1e6)
    assert second.config.model.dim == 32
    assert first.datasets == (str(tmp_path / "ws" / "packed" / "64"),)
    assert second.config.out == tmp_path / "out" / "long"


def test_a_stage_starts_from_the_weights_of_the_one_before_unless_it_names_others(tmp_path: Path) -> None:
    text = """
    [[stage]]
    context = 64
    [[stage]]
    context = 128
    [[stage]]
    context = 256
    train = {init-from = "elsewhere"}
    """
    assert [stage.config.init_from for stage in stages(tmp_path, text)] == [
        None,
        located(tmp_path / "out" / "64"),
        located(Path("elsewhere")),
    ]
    assert stages(tmp_path, text, init_from=located(Path("imported")))[0].config.init_from == located(Path("imported"))


def test_a_stage_trains_on_the_datasets_that_it_names_with_their_weights(tmp_path: Path) -> None:
    text = """
    [[stage]]
    name = "books"
    context = 64
    [[stage]]
    context = 64
    name = "mixed"
    datasets = {books = 0.25, "/data/chats" = 0.75}
    """
    packed = tmp_path / "ws" / "packed"
    assert stages(tmp_path, text)[1].datasets == (f"{packed / 'books'}:0.25", "/data/chats:0.75")


def test_an_evaluation_has_a_suite_its_options_and_a_name(tmp_path: Path) -> None:
    text = """
    [[stage]]
    context = 64
    [[stage.evaluate]]
    suite = "needle"
    haystack = ["book.txt"]
    text-tokenizer = "tokenizer.json"
    lengths = [600]
    [[stage.evaluate]]
    suite = "needle"
    name = "far"
    haystack = ["book.txt"]
    """
    short, far = stages(tmp_path, text)[0].evaluations
    assert (short.name, short.suite, far.name) == ("needle", "needle", "far")
    words = " ".join(short.arguments)
    assert "--haystack book.txt" in words
    assert "--lengths 600" in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[stage]]\ncontext = 64\ntrain = {stepps = 3}",
            r"stage 1 \(64\), \[stage.train\]: unknown key 'stepps'; .*'steps'",
        ),
        ("[[stage]]\ncontext = 64\ntrain = {steps = 'x'}", 'steps must be an integer, got "x"'),
        ("[[stage]]\ncontext = 64\ntrain = {steps = -1}", "steps must not be negative, got -1"),
        ("[[stage]]\ncontext = 64\ntrain = 3", r"\[stage.train\] must be a table of options, got 3"),
        ("[[stage]]\ncontext = 64\ntrain = {out = 'x'}", "'out' cannot be set in a curriculum"),
        ("[train]\ndistributed = true\n[[stage]]\ncontext = 64", "'distributed' cannot be set in a curriculum"),
        ("[[stage]]\ncontext = 64\ndatasets = ['a']", "`datasets` must map names or directories to weights"),
        ("[[stage]]\ncontext = 64\nevaluate = 3", r"`evaluate` must be tables \[\[stage.evaluate\]\], got 3"),
        ("[[stage]]\ncontext = 64\nevaluate = [{suite = 'noodle'}]", "`suite` must be one of .*needle.*got 'noodle'"),
        ("[[stage]]\ncontext = 64\nevaluate = [{suite = 'needle', depth = 2}]", "unknown key 'depth'; .*'depths'"),
        (
            "[[stage]]\ncontext = 64\nevaluate = [{suite = 'ruler'}, {suite = 'ruler'}]",
            "two evaluations named 'ruler'",
        ),
        ("[[stage]]\ncontext = 64\nevaluate = [{suite = 'ruler', name = '../x'}]", "`name` becomes a folder name"),
    ],
)
def test_what_is_wrong_is_named_with_its_stage_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stages(tmp_path, text)


# The tables of arXiv 2402.08268, version 4: name, context, RoPE theta, tokens in a batch, steps, learning rate,
# schedule, warm-up, mesh (dp, fsdp, tp, sp).
_M, _K = 1 << 20, 1 << 10
PAPER = [
    ("text-32k", 32 * _K, 1e6, 4 * _M, 1200, 4e-5, "constant", 100, (1, -1, 4, 1)),
    ("text-128k", 128 * _K, 1e7, 4 * _M, 3000, 4e-5, "constant", 200, (1, -1, 8, 1)),
    ("text-256k", 256 * _K, 1e7, 4 * _M, 3000, 4e-5, "constant", 200, (1, -1, 16, 1)),
    ("text-512k", 512 * _K, 2.5e7, 4 * _M, 720, 4e-5, "constant", 50, (1, -1, 16, 2)),
    ("text-1m", _M, 5e7, 4 * _M, 450, 4e-5, "constant", 25, (1, -1, 16, 4)),
    ("vision-1k", _K, 5e7, 8 * _M, 45000, 6e-4, "cosine", 1000, (1, -1, 1, 1)),
    ("vision-8k", 8 * _K, 5e7, 8 * _M, 14000, 6e-4, "cosine", 500, (1, -1, 1, 1)),
    ("chat-32k", 32 * _K, 5e7, 8 * _M, 1200, 8e-5, "constant", 100, (1, -1, 4, 1)),
    ("chat-128k", 128 * _K, 5e7, 8 * _M, 450, 8e-5, "constant", 50, (1, -1, 8, 1)),
    ("chat-1m", _M, 5e7, 8 * _M, 50, 8e-5, "constant", 5, (1, -1, 16, 4)),
]


@pytest.mark.slow
def test_the_preset_of_the_paper_equals_its_tables_field_by_field() -> None:
    found = training_stages(read_curriculum_file("lwm-paper"), packed=located(Path("packed")), out=Path("out"))
    rows = []
    for stage in found:
        config, optimizer, mesh = stage.config, stage.config.optimizer, stage.config.mesh
        context = stage.data.context_length
        axes = (mesh.data, mesh.fsdp, mesh.tensor, mesh.sequence)
        rates = (optimizer.learning_rate, optimizer.schedule, optimizer.warmup_steps)
        rows.append(
            (stage.name, context, config.model.rope_theta, config.batch_size * context, config.steps, *rates, axes)
        )
        assert (optimizer.name, optimizer.beta1, optimizer.beta2) == ("adamw", 0.9, 0.95)
        assert (optimizer.weight_decay, optimizer.clip_norm, optimizer.final_fraction) == (0.1, 1.0, 0.1)
        assert (config.dtype, optimizer.param_dtype, config.softmax) == ("float32", "float32", "by_modality")
        assert config.model.recipe == "lwm_7b"
        assert config.model_config().max_positions >= context
    assert rows == PAPER
    pure_text = {stage.name: stage.data.config.mixture.text_share for stage in found}
    assert {name for name, share in pure_text.items() if share == 0.16} == {"vision-1k", "vision-8k"}
    starts = [stage.config.init_from for stage in found]
    assert starts == [None, *(located(Path("out") / stage.name) for stage in found[:-1])]


def test_the_preset_for_a_laptop_grows_the_context() -> None:
    found = training_stages(read_curriculum_file("laptop"), packed=located(Path("packed")), out=Path("out"))
    assert [stage.data.context_length for stage in found] == [1024, 4096, 16384]
    assert {stage.config.model.recipe for stage in found} == {"small"}
