"""`./iacrm bench`: runs one benchmark, or all in turn."""

from importlib import import_module
from types import ModuleType

from cli.console import Console

NAMES = ("gateway", "worker", "freshness", "rfm-scale", "hot-keys", "rebuild", "imports", "reads")


def run(name: str | None, arguments: list[str]) -> int:
    """Runs `benchmarks.<name>.main(arguments)`. Exit code 2: there is no such benchmark; 130: interrupted."""
    console = Console()
    if name is not None and name not in NAMES:
        console.error(f"There is no benchmark {name}. There are: {', '.join(NAMES)}")
        return 2
    try:
        for each in (name,) if name is not None else NAMES:
            console.heading(f"Benchmark: {each}")
            _module(each).main(arguments)
    except KeyboardInterrupt:
        return 130
    return 0


def _module(name: str) -> ModuleType:
    return import_module(f"benchmarks.{name.replace('-', '_')}")
