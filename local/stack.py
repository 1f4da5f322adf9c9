"""Start and stop of the local stack, for `make run` and the end-to-end tests."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.text import Text

from command_line.environment import LOCAL_REGION
from command_line.output import Progress, show_no_progress
from command_line.project import PROJECT
from dummy_stripe.dynamodb_store import DynamoDBStore
from local.build import BUILD_CACHE, RUNTIME, Build, architecture
from local.console import data as console_data
from local.console.pages import build_pages
from local.emulator import function_logs
from local.emulator.deploy import STACK_NAME, STAGE, Deployment, deploy
from local.emulator.log_lines import make_line_handler
from local.emulator.process import Emulator, start_emulator
from local.gateway import proxy
from local.running import DESCRIPTION, lock_state
from local.tokens import TOKEN_VALIDITY, TokenIssuer

# The dummy accepts any key that begins with sk_test_.
DUMMY_STRIPE_KEY = "sk_test_dummy"
WEBHOOK_SECRET = "whsec_local"  # noqa: S105 - used by local stacks only
USERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "buyer": ("buyer-1", ("buyer",)),
    "buyer2": ("buyer-2", ("buyer",)),
    "seller": ("seller-1", ("seller",)),
    "admin": ("admin-1", ("admin",)),
}
"""Subject and roles of the stack's tokens, by token name."""

_REQUEST_TIMEOUT_SECONDS = 150


@dataclass(frozen=True, slots=True)
class Stack:
    api_url: str
    emulator: Emulator
    deployment: Deployment
    identity: TokenIssuer
    tokens: Mapping[str, str]
    state: Path

    def token(self, sub: str, roles: Iterable[str], *, expires_in: timedelta = TOKEN_VALIDITY, **claims: object) -> str:
        return self.identity.token(sub, roles, expires_in=expires_in, **claims)

    def http(self) -> httpx.Client:
        """Return a client for the API at its short address. The caller closes it."""
        return httpx.Client(base_url=self.api_url, timeout=_REQUEST_TIMEOUT_SECONDS, trust_env=False)

    def client(self, service: str) -> Any:
        """Return a boto3 client for a service of the emulator. The caller closes it."""
        return self.emulator.client(service)

    def outputs(self) -> dict[str, str]:
        """Read the stack's current outputs."""
        with closing(self.client("cloudformation")) as client:
            (stack,) = client.describe_stacks(StackName=STACK_NAME)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def function_logs(self) -> str:
        """Return the log of all functions, including the platform's START, END and REPORT lines."""
        with closing(self.client("logs")) as client:
            return "\n".join(line.message for line in function_logs.read_lines(client))

    def description(self) -> dict[str, Any]:
        """Return the content of `stack.json`: addresses, tables and tokens for clients."""
        return {
            "apiUrl": self.api_url,
            "awsEndpointUrl": self.emulator.endpoint_url,
            "region": LOCAL_REGION,
            "stackName": STACK_NAME,
            "tables": {
                "orders": self.deployment.orders_table,
                "products": self.deployment.products_table,
                **({"dummyStripe": table} if (table := self.deployment.dummy_stripe_table) else {}),
            },
            "tokens": dict(self.tokens),
            "issuer": self.identity.issuer,
            "audience": self.identity.audience,
            "jwks": self.identity.jwks(),
        }

    @contextmanager
    def publish_description(self) -> Iterator[None]:
        """Keep `stack.json` in place while the block runs."""
        path = self.state / DESCRIPTION
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        try:
            # Readable by its owner only, because it holds tokens. The rename makes it appear complete.
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(self.description(), file, indent=2)
            unfinished.replace(path)
            yield
        finally:
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def local_parameters(identity: TokenIssuer) -> dict[str, str]:
    """Return the template's parameters for this machine. They hold no real secret and retain no data."""
    return {
        "Runtime": RUNTIME,
        "Architecture": architecture(),
        "StripeSecretKey": DUMMY_STRIPE_KEY,
        "StripeWebhookSecret": WEBHOOK_SECRET,
        "JwtIssuer": identity.issuer,
        "JwtAudience": identity.audience,
        "JwtJwks": identity.jwks_json(),
        "DeletionProtection": "off",
        # The dummy Stripe has no rate limit. This throttle is above the capacity of one machine.
        "PaymentsPerSecond": "1000",
        # MiniStack 1.5.33 does not support archives in a template.
        "EventArchiveDays": "0",
    }


@contextmanager
def start_stack(
    *,
    port: int = 0,
    state: Path,
    build_cache: Path = BUILD_CACHE,
    parameters: Mapping[str, str] | Callable[[Emulator], Mapping[str, str]] | None = None,
    enforce_policies: bool = False,
    sources: Path | None = None,
    saved_tables: Path | None = None,
    progress: Progress = show_no_progress,
    show_log: Callable[[Text], None] = lambda _: None,
) -> Iterator[Stack]:
    """Build `template.yaml`, deploy it to an emulator and serve it while the block runs.

    - `port`: port of the short address; 0 selects a free one.
    - `state`: directory of this run. `build_cache` is shared by all stacks.
    - `parameters`: override or add template parameters. A function can create resources on the emulator first.
    - `enforce_policies`: restrict each function to the template's policies, as on AWS. The emulator then also refuses
      unknown access keys, so `make run` leaves it off.
    - `sources`: a checkout like that of the build. A function runs its changed sources there at its next invocation.
    - `saved_tables`: a file with the tables' items. They are restored from it, and saved to it at the end.
    - `show_log`: receives each log line of the functions except successful reads. `logs/functions.log` has all lines.
    """
    with ExitStack() as running:
        running.enter_context(lock_state(state))
        bound = running.enter_context(proxy.bind_port(port))
        # Remove the state of a killed run now, and of this run at the end. The logs stay until the next run.
        _clear(state)
        running.callback(_clear, state)
        shutil.rmtree(state / "logs", ignore_errors=True)
        (state / "logs").mkdir()

        build = Build(PROJECT, build_cache)
        identity = TokenIssuer.generate()
        identity.save(state / "signing-key.pem")
        with build.lock():
            if not build.is_current():
                with progress("Build the functions and layers (sam build)", build.fraction_built):
                    build.make()
            with progress("Start the AWS emulator (MiniStack)"):
                emulator = running.enter_context(
                    start_emulator(
                        PROJECT,
                        state,
                        build.unpacked,
                        enforce_policies=enforce_policies,
                        sources=sources,
                        saved_tables=saved_tables,
                    )
                )
            with progress("Deploy template.yaml to it (sam deploy)"):
                given = {
                    **local_parameters(identity),
                    **((parameters(emulator) if callable(parameters) else parameters) or {}),
                }
                deployment = deploy(build.template, given, emulator, state)

        log_file = running.enter_context((state / "logs" / "functions.log").open("a", encoding="utf-8", buffering=1))
        running.enter_context(function_logs.follow_logs(emulator, make_line_handler(log_file, show_log)))
        upstream = proxy.Upstream(emulator.port, deployment.api_id, STAGE, deployment.gateway_responses, emulator.key)
        api_url = f"http://127.0.0.1:{bound.getsockname()[1]}/{STAGE}"
        store = None
        if table := deployment.dummy_stripe_table:
            store = DynamoDBStore(running.enter_context(closing(emulator.client("dynamodb"))), table)
        web_pages = build_pages(lambda: console_data.session(identity, USERS), lambda: console_data.ledger(store))
        running.enter_context(proxy.serve_in_thread(proxy.Proxy(upstream, web_pages), bound))
        tokens = {name: identity.token(sub, roles) for name, (sub, roles) in USERS.items()}
        yield Stack(api_url, emulator, deployment, identity, tokens, state)


def _clear(state: Path) -> None:
    for file in (DESCRIPTION, "signing-key.pem", "parameters.yaml"):
        (state / file).unlink(missing_ok=True)
    for directory in ("emulator", "home"):
        shutil.rmtree(state / directory, ignore_errors=True)
