"""What a bench works with: the repository, a stack of its own, and where the result goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError
from harness.machine import check_memory
from harness.rounds import say
from harness.stack import Container, Stack

WHOLE = "compose.yaml"
LOAD = "bench/compose.load.yaml"


@dataclass(frozen=True)
class Scene:
    """One run of one bench. A quick run is for trying: its result goes to `scratch`, never to
    results/.
    """

    name: str
    root: Path
    quick: bool

    @property
    def scratch(self) -> Path:
        """Return the folder for what git does not keep."""
        return self.root / ".scale-out" / "bench"

    def rounds(self, number: int) -> int:
        """Return how many rounds to take: a quick run takes a quarter."""
        return max(2, number // 4) if self.quick else number

    def stack(self, *files: str, **settings: str) -> Stack:
        """Return the bench's own stack: the stack's files, the load generator, and `files` on
        top.
        """
        return Stack([WHOLE, LOAD, *files], settings)

    @contextmanager
    def clean(self) -> Iterator[None]:
        """Remove what an earlier run left behind, and afterwards what this one made."""
        bare = Stack([WHOLE])
        say("Starting a stack of the bench's own")
        bare.down()
        try:
            yield
        finally:
            say("Removing the bench's stack")
            bare.down()
            bare.remove_images()

    @contextmanager
    def started(
        self, images: Sequence[str], services: Sequence[str], *files: str, **settings: str
    ) -> Iterator[dict[str, list[Container]]]:
        """Build the images of some services, start `services` beside the load generator, and yield
        the containers.
        """
        check_memory()
        with self.clean():
            stack = self.stack(*files, **settings)
            stack.build("postgres-1", "etcd", "redis-cache", "web", *images)
            stack.up(*services)
            yield stack.containers()


def changed_copy(scene: Scene, source: str, old: str, new: str) -> Path:
    """Write `source` with `old` replaced by `new` into the scratch folder, for an override to
    mount.
    """
    text = (scene.root / source).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise BenchError(f"{source}: expected to find {old.strip()!r} once: the bench has to follow its changes")
    copy = scene.scratch / Path(source).name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text.replace(old, new), encoding="utf-8")
    copy.chmod(0o644)
    return copy
