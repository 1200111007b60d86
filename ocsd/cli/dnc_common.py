"""What the commands of ``ocsd dnc`` share: their Typer application, options, and how texts are read and written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ocsd.cli.errors import EXIT_CODES
from ocsd.model.errors import ConfigError, OcsdError

if TYPE_CHECKING:
    from ocsd.config.objects import Configuration
    from ocsd.dnc.forms import Plan
    from ocsd.dnc.mapped import Registry

app = typer.Typer(
    help="Import, look up and change whom nobody may call.\n\n\b\n"
    "Example:\n  ocsd dnc import us-2026-03.txt --registry us --country US --config /etc/ocsd/ocsd.toml",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config: TypeAlias = Annotated[
    Path, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
]
TenantName: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Name of a tenant; default: what holds for every tenant.")
]
Country: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="US",
        help="ISO 3166 code: how numbers without + and country code are read; without it they are refused.",
    ),
]
RegistryName: TypeAlias = Annotated[str | None, typer.Option("--registry", metavar="NAME", help="Name of a registry.")]
Customers: TypeAlias = Annotated[
    list[str] | None, typer.Option("--customer", metavar="ID", help="A customer id. Repeatable.")
]
Numbers: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="NUMBER...", show_default=False)]
Expires: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        metavar="DATE",
        help="UTC; from then on it no longer forbids. Default: it does not expire.",
    ),
]


def load(config: Path) -> "Configuration":
    from ocsd.config.loader import load_configuration

    return load_configuration(config)


def data_dir(configuration: "Configuration") -> Path:
    from ocsd.lists.embedded import data_folder

    return data_folder(configuration.data_dir)


def tenant_dbid_of(configuration: "Configuration", name: str | None) -> int | None:
    if name is None:
        return None
    for tenant in configuration.tenants:
        if tenant.name == name:
            return tenant.dbid
    known = ", ".join(f'"{tenant.name}"' for tenant in configuration.tenants) or "none"
    raise ConfigError([f'no tenant is called "{name}"; defined are: {known}.'])


def tenant_name(configuration: "Configuration", dbid: int | None) -> str:
    if dbid is None:
        return "every tenant"
    return next((tenant.name for tenant in configuration.tenants if tenant.dbid == dbid), f"tenant {dbid}")


def plan_for(country: str | None) -> "Plan | None":
    from ocsd.dnc.forms import plan_of

    if country is None:
        return None
    try:
        return plan_of(country.upper())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--country") from None


def phone_of(text: str, plan: "Plan | None", *, must: bool) -> str:
    """E.164; a text that is no number stays as it is, unless it ``must`` be one."""
    from ocsd.dnc.forms import NumberRefused, one_number

    try:
        return f"+{one_number(text, plan)}"
    except NumberRefused as error:
        if must:
            hint = "" if plan is not None or text.startswith("+") else " (--country says how it is to be read)"
            raise OcsdError(f"{text}: {error}{hint}") from None
        return text


def end_of(expires: datetime | None, *, in_table: bool) -> datetime | None:
    """``--expires`` as aware UTC; refused when the table's column could not hold it, or it is past all sense."""
    from ocsd.dnc.index import NEVER_ENDS
    from ocsd.dnc.table import LAST_SECOND

    if expires is None:
        return None
    end = expires.replace(tzinfo=UTC)
    last = datetime.fromtimestamp(LAST_SECOND if in_table else NEVER_ENDS - 1, UTC)
    if end > last:
        raise typer.BadParameter(f"at most {last:%Y-%m-%d}; without it nothing expires", param_hint="--expires")
    return end


def iso(when: datetime | None) -> str | None:
    return when.isoformat() if when is not None else None


def registries_of(configuration: "Configuration") -> "tuple[Registry, ...]":
    from ocsd.dnc.mapped import map_registries

    registries, problems = map_registries(data_dir(configuration))
    if problems:
        raise ConfigError(problems)
    return registries


def no_registry(configuration: "Configuration", name: str, tenant_dbid: int | None) -> ConfigError:
    whom = tenant_name(configuration, tenant_dbid)
    known = ", ".join(
        f'"{registry.name}" of {tenant_name(configuration, registry.tenant_dbid)}'
        for registry in registries_of(configuration)
    )
    return ConfigError([f'{whom} has no registry "{name}"; there are: {known or "none"}.'])
