from __future__ import annotations

from trainer.model.llama.config import debug, lwm_7b
from trainer.published.names import HUGGING_FACE, LWM, META, gguf, stacked_name


def test_names_are_those_of_the_published_files() -> None:
    config = lwm_7b()
    assert HUGGING_FACE.of_layer(config, 3)[stacked_name("query")][0] == "model.layers.3.self_attn.q_proj.weight"
    assert gguf("llama").of_layer(config, 3)[stacked_name("down")][0] == "blk.3.ffn_down.weight"
    assert META.of_layer(config, 3)[stacked_name("up")][0] == "layers.3.feed_forward.w3.weight"
    name, layout = LWM.of_layer(config, 31)[stacked_name("gate")]
    assert (name, layout.published) == ("transformer/h/31/feed_forward/w1/kernel", (4096, 11008))
    name, layout = LWM.of_table("text_head", (32000, 4096))
    assert (name, layout.published) == ("lm_head/kernel", (4096, 32000))


def test_only_queries_and_keys_are_reordered_and_only_where_pairs_lie_side_by_side() -> None:
    config = debug()
    turned = {name for name, (_, layout) in META.of_layer(config, 0).items() if layout.interleaved}
    assert turned == {stacked_name("query"), stacked_name("key")}
    for naming in (HUGGING_FACE, gguf("qwen2"), gguf("qwen3")):
        assert not any(layout.interleaved for _, layout in naming.of_layer(config, 0).values())
