"""Only `schemas/storage` touches the file system, and the modules that are listed here with the reason why they must.

What Longreel stores (workspaces, datasets, their tables and logs) is read and written through `Location`, so it can
be in a bucket. A module that leaves the list may not come back: an entry without a use is an error as well.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.file_access import file_accesses, modules_with_file_access

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("schemas", "tokenizer", "pipeline", "trainer")
_STORAGE = "schemas/storage/"

_ALLOWED = {
    "inputs are folders and links of the file system, or copied to a temporary file": """
        pipeline/sources/inputs.py pipeline/sources/links.py pipeline/sources/manifest.py
        pipeline/sources/pinned.py
        pipeline/survey/job.py pipeline/text/encoding.py
        pipeline/takedown/files.py pipeline/cli/qa.py pipeline/captioning/frames.py
    """,
    "workers compare the code that they have installed": "pipeline/runtime/engines/dask_probe.py",
    "the quota of the container": "pipeline/runtime/cores.py",
    "JAX keeps compiled programs in the user's cache": "schemas/runs/compilation_cache.py",
    "sample material is made in a local folder": """
        pipeline/sources/samples/media.py pipeline/sources/samples/model.py pipeline/sources/samples/packages.py
        pipeline/sources/samples/synthetic.py
    """,
    "a child process decodes local files and returns frames through shared memory": """
        pipeline/video/analysis/summary.py pipeline/video/child.py pipeline/video/process.py
    """,
    "members of archives have such a method": "pipeline/text/formats/epub_archive.py",
    "options and the terminal": """
        pipeline/cli/listing.py pipeline/cli/places.py pipeline/cli/serve.py
        pipeline/cli/settings.py
    """,
    "works with the local file that Location.local, .writing or .scratch gives": """
        pipeline/dataset/commit.py pipeline/dataset/removal/rewrite.py pipeline/runtime/token_store.py
        pipeline/tokenize/text_tokenizer.py schemas/shards/ranged.py schemas/tables.py
        schemas/text_tokenizer.py
    """,
    "results of an evaluation, and documents that are made, are written to a local folder": """
        pipeline/evaluation/run.py pipeline/evaluation/visual_needle.py pipeline/evaluation/files/video_parts.py
        pipeline/qa_generation/generate.py pipeline/text/qa_items.py
    """,
    "files of the installation, and media that a request names": """
        pipeline/evaluation/files/video_choices.py pipeline/evaluation/needles.py pipeline/language_models/endpoint.py
        pipeline/serving/app.py pipeline/serving/attachments.py
        pipeline/serving/generation.py pipeline/serving/pictures.py
    """,
    "links and special files exist in local folders only": "pipeline/dataset/verify/strays.py",
    "files of weights and tokenizers that the user gives or gets": """
        pipeline/tokenizer_jobs/import_weights.py pipeline/tokenizer_jobs/perceptual_weights.py
        schemas/weight_files/torch_zip.py tokenizer/checkpoints/containers.py schemas/weight_files/tokenizer_files.py
        tokenizer/text/training.py tokenizer/weights_file.py trainer/published/exporting.py
        trainer/published/files/gguf_writer.py
        trainer/published/files/torch.py trainer/published/importing.py trainer/published/run_facts.py
        trainer/published/source.py
    """,
    "a training run is a local folder, whose checkpoints Orbax writes": """
        pipeline/tokenizer_jobs/compare_videos.py pipeline/tokenizer_jobs/evaluate.py
        pipeline/tokenizer_jobs/frame_cache.py pipeline/tokenizer_jobs/train.py
        schemas/runs/checksums.py schemas/runs/folder_lock.py schemas/runs/tensorboard.py
        schemas/runs/weights_and_biases.py pipeline/inference/loading.py tokenizer/training/resources.py
        tokenizer/training/snapshots.py tokenizer/training/train.py trainer/run/arrays.py trainer/run/checkpoint.py
        trainer/run/copies/fetched.py trainer/run/copies/run_copy.py
        trainer/run/group/launcher.py trainer/run/lock.py trainer/run/model_options.py trainer/run/native_output.py
    """,
}


def test_only_the_listed_modules_touch_the_file_system() -> None:
    found = modules_with_file_access(_ROOT, _PACKAGES)
    others = {name: uses for name, uses in found.items() if not name.startswith(_STORAGE)}
    allowed = {name for names in _ALLOWED.values() for name in names.split()}
    new = {name: uses for name, uses in others.items() if name not in allowed}
    assert new == {}, "read and write through schemas.storage.location.Location instead"
    assert allowed - others.keys() == set(), "these modules need no exception any more: remove them from the list"


def test_uses_of_the_file_system_are_recognized() -> None:
    source = """
import shutil, os, json
from tempfile import mkdtemp
def f(path, location):
    open(path); os.rename(path, path); os.path.isfile(path); path.write_text("x"); pa.memory_map(str(path))
    location.read(); location.list(); os.getpid(); text.replace("a", "b")
"""
    expected = [".memory_map()", ".write_text()", "open()", "os.isfile", "os.rename", "shutil", "tempfile"]
    assert file_accesses(source) == expected
    assert file_accesses("from pathlib import Path\nname = Path(a) / 'b'\n") == []
