"""``test``: whole songs, teacher and student side by side, every metric, and the files that say so."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console
from torch import Tensor

from wsa_lightning.checkpoints.model_files import file_hash
from wsa_lightning.errors import UserError
from wsa_lightning.machine import cache_folder
from wsa_lightning.metrics import DEFINITIONS, ScoresPerTrack, score_track
from wsa_lightning.metrics.scoring import check_metrics
from wsa_lightning.ranges import NonNegativeInt, PositiveInt
from wsa_lightning.reliability.internals import is_dry_run
from wsa_lightning.training.data_protocol import SeparationDataModule, TrackInfo
from wsa_lightning.training.evaluation import artifacts
from wsa_lightning.training.evaluation.cache import Scores, TeacherScores
from wsa_lightning.training.evaluation.card import ModelCard
from wsa_lightning.training.evaluation.outcome import Outcome
from wsa_lightning.training.module import TRACK_ERRORS, SeparationModule


class EvaluationCallback(L.Callback):
    """Separates every test song with teacher and student, scores both, and writes ``RUN/test``.

    ``scores.csv`` has a row per song, model and stem; ``scores.json`` the scores over songs with their definitions,
    the models' hashes and FLOPs, and the paired difference; ``audio/`` short excerpts. A song that fails is reported
    there and on the terminal, and the command ends with exit status 1. Everything is made under another name and
    renamed at the end, so that ``scores.json`` means a finished test. Logs ``test/{metric}`` (median over songs),
    ``test/{metric}_mean``, the same with ``teacher_`` in front, ``test/difference_{metric}`` and ``test/retained``.

    Ranks share the songs. Metrics are computed in threads while the next song is separated.

    Args:
        metrics: which of ``wsa_lightning.metrics.DEFINITIONS``.
        audio_songs: songs of which an excerpt of every signal is kept.
        excerpt_seconds: length of an excerpt; it is taken where the target is loudest.
        bootstrap_resamples: of the interval around the difference.
        threads: songs scored at once beside the one that is separated; each is kept in memory.
        cache: keep the teacher's scores in the user's cache folder, for the next student of the same teacher.
    """

    def __init__(
        self,
        metrics: tuple[str, ...] = tuple(DEFINITIONS),
        audio_songs: NonNegativeInt = 2,
        excerpt_seconds: float = 10.0,
        bootstrap_resamples: int = 9999,
        threads: PositiveInt = 1,
        cache: bool = True,
    ) -> None:
        check_metrics(metrics)
        for key, value, least in (
            ("excerpt_seconds", excerpt_seconds, 0.1),
            ("bootstrap_resamples", bootstrap_resamples, 100),
        ):
            if value < least:
                raise UserError(f"evaluation.{key} is {value}: expected {least} or more")
        self.metrics = tuple(metrics)
        self.audio_songs, self.excerpt_seconds = audio_songs, excerpt_seconds
        self.bootstrap_resamples, self.threads, self.cache = bootstrap_resamples, threads, cache
        self.failed: dict[str, str] = {}
        """Songs without a score, name to reason; complete on every rank once the test has ended."""
        self._pool: ThreadPoolExecutor | None = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, SeparationModule):
            return
        data = pl_module.data
        self._dry = is_dry_run(trainer)
        self._run = Path(trainer.default_root_dir)
        self._tracks: tuple[TrackInfo, ...] = tuple(data.test_tracks)
        self.failed = dict(data.refused_songs)
        self._cards = self._find_models(trainer, pl_module)
        config = pl_module.net.config
        self._stems, self._rate = config.stems, config.sample_rate
        self._tables = {
            name: ScoresPerTrack(len(self._tracks), len(config.stems), self.metrics, config.sample_rate).to(
                pl_module.device
            )
            for name in self._cards
        }
        self._known = (
            self._teacher_scores(trainer, pl_module, data) if self.cache and "teacher" in self._cards else None
        )
        self._from_cache = 0
        self._pending: deque[tuple[int, Future[dict[str, Scores]]]] = deque()
        self._pool = ThreadPoolExecutor(self.threads)
        self._scored: list[int] = []
        if trainer.is_global_zero and not self._dry:
            artifacts.begin(self._run)
        trainer.strategy.barrier("evaluation folder")

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Separate the song by the teacher too, and hand it to the threads that score; a failure is that song's."""
        song = int(batch["track"])
        if song < 0 or self._pool is None or not isinstance(pl_module, SeparationModule):
            return
        if isinstance(outputs, Mapping):
            self._fail(song, outputs["error"])
            return
        *others, own = self._cards
        audio, known = {own: outputs}, self._recall(song)
        if others and not known:
            try:
                with trainer.precision_plugin.forward_context():
                    teacher = pl_module.separate_song(batch["mixture"][0], self._cards["teacher"].network)
            except TRACK_ERRORS as error:
                self._fail(song, str(error) or type(error).__name__)
                return
            audio["teacher"] = teacher.cpu()
        signals = {"mixture": batch["mixture"][0].cpu(), "target": batch["targets"][0].cpu(), **audio}
        self._pending.append((song, self._pool.submit(self._score, song, signals, known)))
        while len(self._pending) > self.threads:
            self._collect()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._pool is None or not isinstance(pl_module, SeparationModule):
            return
        while self._pending:
            self._collect()
        self._close()
        shares = _gather((self._scored, self.failed, self._from_cache))
        self.failed = {name: error for _, failed, _ in shares for name, error in failed.items()}
        self._from_cache = sum(known for *_, known in shares)
        outcome = Outcome(
            tracks=self._tracks,
            stems=pl_module.net.config.stems,
            scored=sorted(song for scored, *_ in shares for song in scored),
            scores={name: table.compute() for name, table in self._tables.items()},
            cards=self._cards,
            failed=dict(sorted(self.failed.items())),
            resamples=self.bootstrap_resamples,
        )
        pl_module.log_dict(outcome.scalars(), sync_dist=True)  # the same on every rank; Lightning warns otherwise
        if trainer.is_global_zero:
            self._publish(outcome)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let go of the threads and of what was half written."""
        if self._pool is not None:
            self._close()
            if trainer.is_global_zero and not self._dry:
                artifacts.discard(self._run)

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _find_models(self, trainer: L.Trainer, module: SeparationModule) -> dict[str, ModelCard]:
        """``teacher`` and ``student``, or ``model`` alone."""
        path = module.model_file or trainer.ckpt_path
        own = ModelCard(None if path is None else str(path), None if path is None else file_hash(path), module.net)
        if module.teacher is None:
            return {"model": own}
        theirs, ours = module.teacher.network.config, module.net.config
        for key in ("stems", "sample_rate", "channels"):
            if getattr(theirs, key) != getattr(ours, key):
                raise UserError(
                    f"the teacher's {key} is {getattr(theirs, key)}, the tested model's {getattr(ours, key)}: "
                    "name another --distillation.teacher, or null"
                )
        teacher = ModelCard(module.teacher.path, module.teacher.sha256, module.teacher.network)
        return {"teacher": teacher, "student": own}

    def _teacher_scores(
        self, trainer: L.Trainer, module: SeparationModule, data: SeparationDataModule
    ) -> TeacherScores:
        teacher = self._cards["teacher"]
        recipe = {
            "teacher": teacher.sha256,
            "config": teacher.network.config.to_dict(),
            "separation": teacher.blocks(),
            "precision": str(trainer.precision),
            "device": module.device.type,
            "metrics": self.metrics,
            "stems": data.stems,
        }
        return TeacherScores(data.cache or cache_folder(), recipe)

    def _recall(self, song: int) -> dict[str, Scores]:
        """The teacher's scores of a song if they are known and no excerpt of its estimate is wanted."""
        if self._known is None or song < self.audio_songs:
            return {}
        found = self._known.get(self._tracks[song], self._tables["teacher"].columns)
        self._from_cache += found is not None
        return {} if found is None else {"teacher": found}

    def _score(self, song: int, signals: Mapping[str, Tensor], known: dict[str, Scores]) -> dict[str, Scores]:
        track = self._tracks[song]
        scores = dict(known)
        for name in self._cards:
            if name not in known:
                scores[name] = score_track(
                    signals[name], signals["target"], signals["mixture"], self._rate, self.metrics
                )
        if self._known is not None and "teacher" not in known:
            self._known.put(track, scores["teacher"])
        if song < self.audio_songs and not self._dry:
            folder = self._run / artifacts.PARTIAL
            artifacts.write_excerpts(folder, track.name, self._stems, signals, self._rate, self.excerpt_seconds)
        return scores

    def _collect(self) -> None:
        """Enter the scores of the song that has waited longest."""
        song, future = self._pending.popleft()
        try:
            scores = future.result()
        except TRACK_ERRORS as error:
            self._fail(song, str(error) or type(error).__name__)
            return
        for name, table in self._tables.items():
            table.put(song, scores[name])
        self._scored.append(song)

    def _fail(self, song: int, reason: str) -> None:
        self.failed[self._tracks[song].name] = reason.splitlines()[0]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _publish(self, outcome: Outcome) -> None:
        console = Console()
        console.print(outcome.heading(), highlight=False, soft_wrap=True)
        console.print(outcome.table())
        if self._from_cache:
            rank_zero_info(f"teacher's scores taken from the cache: {self._from_cache} of {len(self._tracks)} songs")
        if self._dry:
            return
        config = "config.test.yaml" if (self._run / "config.test.yaml").is_file() else None
        artifacts.write_scores(self._run / artifacts.PARTIAL, outcome, config)
        console.print(f"scores  {artifacts.finish(self._run) / 'scores.json'}", soft_wrap=True)


def _gather(share: Any) -> list[Any]:
    """Every rank's share, on every rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [share]
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, share)
    return shares
