"""What one case of the catalogue is, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from study import Study

KINDS = ("config", "data", "model", "environment")


@dataclass(frozen=True)
class Outcome:
    """The exit status of a command, and what it said."""

    status: int
    said: str


@dataclass(frozen=True)
class Case:
    """One thing that is broken, the command that a user would run, and what it must say.

    `broken` breaks a copy of the study; what it returns is given to the command as options. `says`
    holds texts of the error: the file, the record and the remedy. `not_kept` are artifacts that the
    command rightly makes again before it fails; `gone` are those of the job that failed, which
    Snakemake takes away before it starts the job. All others must stay as they are.
    """

    name: str
    kind: str
    broken: Callable[[Study], list[str] | None]
    command: Callable[[Study, list[str]], Outcome]
    says: tuple[str, ...]
    status: int = 1
    not_kept: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass
class Catalogue:
    """Cases of one kind, each put down beside the function that breaks the study."""

    kind: str
    cases: list[Case] = field(default_factory=list)

    def case(self, name: str, command: Callable, *says: str, **more) -> Callable:
        """The function below is a case of this name."""

        def put_down(broken: Callable) -> Callable:
            self.add(name, command, broken, *says, **more)
            return broken

        return put_down

    def add(self, name: str, command: Callable, broken: Callable, *says: str, **more) -> None:
        """A case whose breakage is made elsewhere."""
        self.cases.append(Case(name, self.kind, broken, command, says, **more))
