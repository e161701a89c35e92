"""Signatures of clips, as the survey computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.dedup.similarity import Signature
from pipeline.video.analysis.analyze import analyze_video
from pipeline.video.analysis.frame_signature import VERSION
from pipeline.video.analysis.types import AnalysisConfig
from pipeline.video.types import DecodeConfig
from schemas.fingerprint import fingerprint


def signature_of(path: Path, name: str, *, as_film: bool = False) -> Signature:
    """Return a clip's signature; `as_film`: as for a video too long to decode completely. Cached next to the clip."""
    kept = path.with_name(f"{path.name}.{'film' if as_film else 'clip'}-{VERSION}.npz")
    if not kept.is_file():
        found = analyze_video(path, AnalysisConfig(decode_below_s=0.0 if as_film else 60.0), DecodeConfig())
        samples = np.stack([np.frombuffer(sample, np.uint8) for sample in found.signatures])
        activity = np.frombuffer(found.activity, np.uint8)
        np.savez(kept, starts=found.times_s, lengths=found.durations_s, samples=samples, activity=activity)
    with np.load(kept) as given:
        samples = tuple(sample.tobytes() for sample in given["samples"])
        activity = given["activity"].tobytes()
        return Signature(fingerprint(name), "video", given["starts"], given["lengths"], samples, activity)
