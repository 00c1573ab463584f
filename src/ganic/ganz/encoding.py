"""From pictures to files: which quantiser step each takes, and the searches that fill it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganic import bitstream, images
from ganic.entropy import SymbolEncoder
from ganic.errors import TargetError
from ganic.ganz import payload
from ganic.ganz.budget import Found, Report, Settings
from ganic.ganz.latent_coder import RATIO, SMALLEST_SCALE, STEPS, tile_bits
from ganic.ganz.layout import Layout
from ganic.ganz.model import Model
from ganic.ganz.payload import Head
from ganic.ganz.picture_loss import PictureLoss
from ganic.ganz.rd_search import Part, Problem, rd_search
from ganic.ganz.rows import Parts, Together
from ganic.ganz.search import Start, search, start
from ganic.ganz.stored_latents import PLAIN_STEP, coder_of, latents_of, layer_of, step_of

HEADROOM = 1.5
"""A search makes the code of its start about this much shorter; its first step allows for that."""

COARSER = 3
"""Step indices by which to try again where no candidate kept its limit."""

AGAIN = 0.3
"""The share of the time that such a second try gets."""


@dataclass(frozen=True)
class Job:
    """One picture on its way into a file."""

    picture: images.Picture
    layout: Layout
    target: Tensor
    """[tiles, 3, size, size]."""
    weight: Tensor
    """[tiles, 1, size, size]."""
    boxes: dict[str, bytes]
    limit: int | None = None
    """Bytes of the whole file."""


@dataclass(frozen=True)
class Coding:
    """A file, and the squared error of its picture."""

    data: bytes
    error: float


@dataclass(frozen=True)
class Encoding:
    """How the files of several pictures are made: all with the first layer that ``head`` names."""

    model: Model
    head: Head
    quality: float | None
    """0 to 1, or None where the jobs have limits."""
    settings: Settings
    report: Report | None
    bf16: bool

    @cached_property
    def layer(self) -> nn.Module:
        """The first layer of all jobs; a dense one takes a second to make.  Raises UsageError."""
        return layer_of(self.model, self.head)

    def run(self, jobs: Sequence[Job]) -> tuple[list[bytes], bool]:
        """One file per job, and whether Ctrl-C ended the search early.  Raises TargetError, TrainingError."""
        begun = self.begin(jobs)
        stopped, seconds = begun.interrupted, self.settings.seconds
        rest = replace(
            self.settings,
            steps=0 if stopped else max(0, self.settings.steps - begun.steps),
            seconds=None if seconds is None else max(1e-3, seconds - begun.seconds),
        )
        rows = list(torch.split(begun.latents, [job.layout.count for job in jobs]))
        headroom = HEADROOM if self.settings.steps else 1.0
        heads = [self.choose_step(job, row, headroom) for job, row in zip(jobs, rows, strict=True)]
        plain: dict[int, Coding] = {}
        if self.quality is None and rest.steps:
            # Where a search starts from is coded as well: at times it ends further from a tight limit.
            simple = [self.choose_step(job, row, 1.0) for job, row in zip(jobs, rows, strict=True)]
            plain, stopped = self.search(range(len(jobs)), jobs, simple, rows, replace(rest, steps=0))
        done: dict[int, Coding] = {}
        while len(done) < len(jobs):
            if stopped:
                rest = replace(rest, steps=0)
            waiting = [i for i in range(len(jobs)) if i not in done]
            found, interrupted = self.search(waiting, jobs, heads, rows, rest)
            done |= found
            for i in waiting:
                if i not in done:
                    if heads[i].step == STEPS - 1:
                        done[i] = Coding(self.smallest(jobs[i], heads[i]), math.inf)
                    heads[i] = replace(heads[i], step=min(STEPS - 1, heads[i].step + COARSER))
            rest = replace(rest, seconds=None if rest.seconds is None else rest.seconds * AGAIN)
            stopped |= interrupted
        files = [
            min(done[i], plain.get(i, done[i]), key=lambda found: found.error).data for i in range(len(jobs))
        ]
        return files, stopped

    def begin(self, jobs: Sequence[Job]) -> Found:
        """Unquantised latents of all tiles [n, d]: what an encoder says, or what half of the budget finds."""
        target = torch.cat([job.target for job in jobs])
        encoder = self.model.encoder
        parts = Parts.of(len(target), self.model.size, target.device)
        if self.head.layer == "basis" and encoder is not None:
            with torch.no_grad():
                latents = parts.cat(encoder, parts.split(target))
            return Found(latents, torch.zeros(len(latents)), 0, 0.0)
        scales = None
        if self.head.layer == "basis" and self.model.scales is not None:
            scales = self.model.scales.to(target.device)

        def render(z: Tensor) -> Tensor:
            return self.model.generator.synthesise(self.layer(z if scales is None else z * scales))

        weights = parts.split(torch.cat([job.weight for job in jobs]))
        losses = [
            PictureLoss(render, part, weight, self.bf16)
            for part, weight in zip(parts.split(target), weights, strict=True)
        ]
        precise = Together([replace(loss, bf16=False) for loss in losses], parts)
        half = replace(
            self.settings,
            steps=self.settings.steps // 2,
            seconds=None if self.settings.seconds is None else self.settings.seconds / 2,
            finish=0.3,
        )
        kind: Start = "zero" if self.head.layer == "basis" else "clamped-normal"
        first = start(kind, len(target), latents_of(self.model, self.head), self.head.seed)
        begin = first.to(target.device)
        found = search(Together(losses, parts), begin, half, self.report, precise=precise)
        return found if scales is None else replace(found, latents=found.latents * scales)

    def head_of(self, job: Job) -> Head:
        """What all steps have in common."""
        return replace(self.head, fit=job.layout.fit, overlap=job.layout.overlap)

    def choose_step(self, job: Job, latents: Tensor, headroom: float) -> Head:
        """A job's head: its step by quality, or the finest at which a search is expected to fit the limit.

        ``headroom``: how much longer than the limit the code of ``latents`` may be.

        Raises TargetError if the limit is below the smallest file.
        """
        head = self.head_of(job)
        values = latents.detach().cpu().numpy()
        if head.layer != "basis":
            deviation = max(float(np.sqrt(np.mean(values**2))), 1e-6) / PLAIN_STEP
            level = round(math.log(deviation / SMALLEST_SCALE) / math.log(RATIO))
            head = replace(head, level=min(max(level, 0), payload.MAX_LEVEL))
        config = self.model.config
        if self.quality is not None:
            step = config.worst_step + self.quality * (config.best_step - config.worst_step)
            return replace(head, step=round(step))
        room = self.room(job, head) * headroom

        def fits(step: int) -> bool:
            at = replace(head, step=step)
            symbols = np.rint(values / step_of(self.model, at)).astype(np.int64)
            return tile_bits(coder_of(self.model, at), symbols) <= room

        low, high = -1, STEPS - 1  # too fine for sure; coarse enough if any is
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        return replace(head, step=high)

    def room(self, job: Job, head: Head) -> float:
        """Bits that a job's limit leaves for symbols.  Raises TargetError where it leaves none at all."""
        room = (job.limit or 0) - len(self.pack(job, head, None))
        if room < 0:
            self.smallest(job, head)  # raises: it is no smaller
        return 8.0 * room

    def feasible(self, job: Job) -> Job:
        """A job whose limit is no smaller than its smallest file."""
        least = len(self.empty(job, self.head_of(job)))
        return replace(job, limit=max(job.limit or 0, least))

    def empty(self, job: Job, head: Head) -> bytes:
        """The file whose symbols are all zero."""
        nothing = np.zeros((job.layout.count, latents_of(self.model, head)), np.int16)
        return self.pack(job, replace(head, step=STEPS - 1, level=0), nothing)

    def smallest(self, job: Job, head: Head) -> bytes:
        """The file whose symbols are all zero.  Raises TargetError if even that is over the limit."""
        data = self.empty(job, head)
        if len(data) > (job.limit or 0):
            raise TargetError(
                f"target: {job.limit} bytes are too few, this picture's smallest file has {len(data)}; "
                "ask for more"
            )
        return data

    def search(
        self,
        members: Sequence[int],
        jobs: Sequence[Job],
        heads: Sequence[Head],
        rows: Sequence[Tensor],
        settings: Settings,
    ) -> tuple[dict[int, Coding], bool]:
        """The files of those members that keep their limits, and whether the search was interrupted."""
        target = torch.cat([jobs[i].target for i in members])
        counts = torch.tensor([jobs[i].layout.count for i in members])
        problem = Problem(
            render=lambda z: self.model.generator.synthesise(self.layer(z)),
            target=target,
            weight=torch.cat([jobs[i].weight for i in members]),
            file=torch.repeat_interleave(torch.arange(len(members)), counts).to(target.device),
            parts=[self.part(jobs[i], heads[i]) for i in members],
            coder=coder_of(self.model, *(heads[i] for i in members for _ in range(jobs[i].layout.count))),
            bf16=self.bf16,
        )
        latents = torch.cat([rows[i] for i in members])
        coded = rd_search(problem, latents / problem.steps, settings, self.report)
        found = zip(members, problem.tiles, coded.errors.tolist(), strict=True)
        files = {
            i: Coding(self.pack(jobs[i], heads[i], coded.symbols[tiles]), error)
            for i, tiles, error in found
            if math.isfinite(error)
        }
        kept = {i: file for i, file in files.items() if len(file.data) <= (jobs[i].limit or math.inf)}
        return kept, coded.interrupted

    def part(self, job: Job, head: Head) -> Part:
        """One file's share of a problem."""
        step = step_of(self.model, head)
        price = self.model.config.price_at(head.step)
        if self.quality is not None:
            return Part(step, price)
        limit = job.limit or 0
        return Part(
            step,
            price,
            self.room(job, head),
            lambda symbols: len(self.pack(job, head, symbols)) <= limit,
        )

    def pack(self, job: Job, head: Head, symbols: NDArray[np.int16] | None) -> bytes:
        """The file of a job with these symbols [tiles, d]; None leaves them and their code out."""
        begin = head.to_bytes(job.layout)
        code, canonical = b"", [begin]
        if symbols is not None:
            coder = coder_of(self.model, head)
            encoder = SymbolEncoder(self.model.tables)
            for tile in symbols:
                coder.put(encoder, tile)
            code = encoder.finish()
            canonical.append(symbols.astype("<i2").tobytes())
        size = job.picture.width, job.picture.height
        return bitstream.pack(self.model.model_id, *size, [begin + code], job.boxes, canonical)
