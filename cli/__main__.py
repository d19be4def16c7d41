"""`./iacrm`: declares the commands. What they do is imported only when one is called, so that --help is quick."""

import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="iacrm",
    help="Customer intelligence from a stream of sales. Start with [bold]./iacrm demo[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
operator = typer.Typer(help="Accounts of the platform's operators.", no_args_is_help=True)
app.add_typer(operator, name="operator")

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
Port = Annotated[int | None, typer.Option(help="Port of the gateway; else 8000 or a free one.", min=1, max=65535)]


@app.command(epilog="Example: ./iacrm demo --lines 50000 --exit")
def demo(
    full: Annotated[bool, typer.Option("--full", help="Load all 1.47 million purchase lines.")] = False,
    lines: Annotated[int, typer.Option(help="Purchase lines to load.", min=100)] = 200_000,
    leave: Annotated[bool, typer.Option("--exit", help="Stop at the end instead of serving on.")] = False,
    port: Port = None,
) -> None:
    """Start everything, load real purchases through the REST API and show what comes out."""
    from cli.demo import run

    sys.exit(run(lines=None if full else lines, leave=leave, port=port))


@app.command(epilog="Example: ./iacrm up --detach && ./iacrm status")
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it serves; stop it with `down`.")] = False,
    port: Port = None,
) -> None:
    """Start the stack without demo data: PostgreSQL, Kafka, gateway and workers."""
    from cli.up import run, run_detached

    sys.exit(run_detached(port) if detach else run(port))


@app.command(epilog="Example: ./iacrm down")
def down() -> None:
    """Stop the stack, also what a killed one left behind. Data stay."""
    from cli.down import run

    sys.exit(run())


@app.command(epilog="Example: ./iacrm status --json")
def status(as_json: Json = False) -> None:
    """Show the processes with port, state, memory and log. Exit code 0: running, 3: not running."""
    from cli.status import run

    sys.exit(run(as_json=as_json))


@app.command(epilog="Example: ./iacrm logs rfm_worker -f")
def logs(
    process: Annotated[str | None, typer.Argument(help="One process; else all of them.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Last lines to show.", min=0)] = 20,
) -> None:
    """Show what the processes wrote."""
    from cli.logs import run

    sys.exit(run(process, follow=follow, lines=lines))


@app.command(epilog="Example: ./iacrm reset --yes")
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop the stack and delete all of its data, secrets included."""
    from cli.reset import run

    sys.exit(run(yes=yes))


@app.command(epilog="Example: IACRM_ADMIN_DATABASE_URL=postgresql+asyncpg://... ./iacrm setup")
def setup() -> None:
    """Bring tables, roles and topics up to date: of the settings in the environment, else of the running stack."""
    from cli.setup import run

    sys.exit(run())


@operator.command("create", epilog="Example: ./iacrm operator create --username ops --email ops@example.org")
def operator_create(
    username: Annotated[str, typer.Option(prompt=True, help="Name to log in with.")],
    email: Annotated[str, typer.Option(prompt=True, help="Address of the person.")],
    password: Annotated[
        str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, envvar="IACRM_OPERATOR_PASSWORD")
    ],
) -> None:
    """Make the account of a platform operator, who administers tenants and reads none of their data."""
    from cli.operator import create

    sys.exit(create(username, email, password))


@app.command("test", context_settings=_PASS_ON, epilog="Example: ./iacrm test tests/unit -k quintile")
def run_tests(
    context: typer.Context,
    stack: Annotated[
        Literal["embedded", "testcontainers"], typer.Option(help="Where PostgreSQL and Kafka come from.")
    ] = "embedded",
    containers: Annotated[bool, typer.Option("--containers", help="Only build and run the container images.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out the tests that kill processes.")] = False,
) -> None:
    """Run ruff, mypy, import-linter and all tests; further arguments go to pytest."""
    from cli.test import run

    sys.exit(run(list(context.args), stack=stack, containers=containers, fast=fast))


@app.command(context_settings=_PASS_ON, epilog="Example: ./iacrm bench worker --runs 3")
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="gateway, worker, freshness or rebuild; else all in turn.")] = None,
) -> None:
    """Measure speed against a baseline of the same run; further arguments go to the benchmark."""
    from cli.bench import run

    sys.exit(run(name, list(context.args)))


@app.command(epilog="Example: ./iacrm verify --tenant 0192f0c1-...")
def verify(
    tenant: Annotated[str | None, typer.Option(help="Id of one tenant; else all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Recompute everything from the ledger and compare it with every row. Exit code 1: a difference."""
    from cli.verify import run

    sys.exit(run(tenant, as_json=as_json))


@app.command(epilog="Example: ./iacrm rebuild rfm --tenant 0192f0c1-...")
def rebuild(
    worker: Annotated[Literal["rfm"], typer.Argument(help="Whose tables.")],
    tenant: Annotated[str | None, typer.Option(help="Id of one tenant; else all of them.")] = None,
    source: Annotated[
        Literal["auto", "topics", "ledger"],
        typer.Option("--from", help="auto: the topics, or the ledger where they do not hold all sales any more."),
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Compute a worker's tables anew beside it and swap them in: reads go on, nothing is told twice."""
    from cli.rebuild import run

    sys.exit(run(tenant, source, as_json=as_json))


if __name__ == "__main__":
    app(prog_name="./iacrm")
