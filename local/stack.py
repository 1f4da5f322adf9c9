"""The local stack from its start to its stop, for `make run` and for the end-to-end tests alike."""

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

from command_line.environment import REGION
from command_line.output import Progress, show_no_progress
from command_line.project import PROJECT
from dummy_stripe.dynamodb_store import DynamoDBStore
from local.build import BUILD_CACHE, RUNTIME, Build, architecture
from local.console import data as console_data
from local.console.pages import pages
from local.emulator import function_logs
from local.emulator.deploy import STACK_NAME, STAGE, Deployment, deploy
from local.emulator.log_lines import make_line_handler
from local.emulator.process import Emulator, start_emulator
from local.gateway import proxy
from local.running import DESCRIPTION, lock_state
from local.tokens import TOKEN_VALIDITY, TokenIssuer

# Any value that begins sk_test_ serves the dummy; this is nobody's key.
DUMMY_STRIPE_KEY = "sk_test_dummy"
WEBHOOK_SECRET = "whsec_local"  # noqa: S105 - of this machine's stack alone
USERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "buyer": ("buyer-1", ("buyer",)),
    "buyer2": ("buyer-2", ("buyer",)),
    "seller": ("seller-1", ("seller",)),
    "admin": ("admin-1", ("admin",)),
}
"""Subject and roles of the tokens that come with the stack."""

_REQUEST_SECONDS = 150


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
        """A client of the API, at its short address. The caller closes it."""
        return httpx.Client(base_url=self.api_url, timeout=_REQUEST_SECONDS, trust_env=False)

    def client(self, service: str) -> Any:
        """A boto3 client of one of the emulator's services. The caller closes it."""
        return self.emulator.client(service)

    def outputs(self) -> dict[str, str]:
        """The outputs of the template, as the stack tells them now."""
        with closing(self.client("cloudformation")) as client:
            (stack,) = client.describe_stacks(StackName=STACK_NAME)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def function_logs(self) -> str:
        """All that the functions have logged so far, with the platform's START, END and REPORT lines."""
        with closing(self.client("logs")) as client:
            return "\n".join(line.message for line in function_logs.read_lines(client))

    def description(self) -> dict[str, Any]:
        """What others need to know to use it; the content of `stack.json`."""
        return {
            "apiUrl": self.api_url,
            "awsEndpointUrl": self.emulator.endpoint_url,
            "region": REGION,
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
        """Keep the description in `stack.json` while the block runs: it is there as long as the stack is usable."""
        path = self.state / DESCRIPTION
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        try:
            # It holds tokens, so it is its owner's. It appears whole or not at all.
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(self.description(), file, indent=2)
            unfinished.replace(path)
            yield
        finally:
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def local_parameters(identity: TokenIssuer) -> dict[str, str]:
    """The template's parameters for this machine: its Python, keys that are nobody's, nothing kept."""
    return {
        "Runtime": RUNTIME,
        "Architecture": architecture(),
        "StripeSecretKey": DUMMY_STRIPE_KEY,
        "StripeWebhookSecret": WEBHOOK_SECRET,
        "JwtIssuer": identity.issuer,
        "JwtAudience": identity.audience,
        "JwtJwks": identity.jwks_json(),
        "DeletionProtection": "off",
        # The dummy Stripe has no rate limit to respect. This throttle is above what one machine takes.
        "PaymentsPerSecond": "1000",
        # MiniStack 1.5.33 has archives, but not in a template.
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
    progress: Progress = show_no_progress,
    show_log: Callable[[Text], None] = lambda _: None,
) -> Iterator[Stack]:
    """The whole of `template.yaml`, built, deployed and answering, until the block is left.

    - `port` is the port of the short address; 0 takes a free one.
    - `state` is the directory of this run alone. All stacks share the directory `build_cache`.
    - `parameters` replace or add parameters of the template. A function returns them after it has created on the
      emulator what they name.
    - `enforce_policies` lets each function do only what the template's policies allow, as on AWS. The emulator then
      refuses unknown access keys, so `make run` leaves it off.
    - `show_log` receives each line that the functions log, except successful reads. `logs/functions.log` has all.
    """
    with ExitStack() as running:
        running.enter_context(lock_state(state))
        bound = running.enter_context(proxy.bind(port))
        # What a run that was killed has left behind, and in the end our own. The logs stay until the next run.
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
                    start_emulator(PROJECT, state, build.unpacked, enforce_policies=enforce_policies)
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
        served = pages(lambda: console_data.session(identity, USERS), lambda: console_data.ledger(store))
        running.enter_context(proxy.serving(proxy.Proxy(upstream, served), bound))
        tokens = {name: identity.token(sub, roles) for name, (sub, roles) in USERS.items()}
        yield Stack(api_url, emulator, deployment, identity, tokens, state)


def _clear(state: Path) -> None:
    for file in (DESCRIPTION, "signing-key.pem", "parameters.yaml"):
        (state / file).unlink(missing_ok=True)
    for directory in ("emulator", "home"):
        shutil.rmtree(state / directory, ignore_errors=True)
