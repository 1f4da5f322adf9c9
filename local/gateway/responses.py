"""What API Gateway answers by itself, read from the deployed template: there is no second copy of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = "gatewayresponse.header."
_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+)")


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """One answer of API Gateway's own, as its API takes it."""

    type: str
    status: int
    parameters: Mapping[str, str]
    templates: Mapping[str, str]

    def render(self, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of the answer. Headers with values other than constants are left out."""
        headers = [
            (name.removeprefix(_HEADER).lower().encode(), value[1:-1].encode())
            for name, value in self.parameters.items()
            if name.startswith(_HEADER) and len(value) > 1 and value[0] == value[-1] == "'"
        ]
        context = {"requestId": request_id}
        template = self.templates.get("application/json", "")
        body = _VARIABLE.sub(lambda match: context.get(match[1], ""), template).encode()
        return self.status, [*headers, (b"x-amzn-requestid", request_id.encode())], body


def read_gateway_responses(template: Mapping[str, Any]) -> dict[str, GatewayResponse]:
    """Return the gateway responses of a template after SAM's transform, by their type."""
    body = template["Resources"]["Api"]["Properties"]["Body"]
    return {
        name: GatewayResponse(
            name, int(of["statusCode"]), of.get("responseParameters") or {}, of.get("responseTemplates") or {}
        )
        for name, of in body.get("x-amazon-apigateway-gateway-responses", {}).items()
    }
