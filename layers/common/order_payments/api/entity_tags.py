"""Entity tags of products, and request preconditions (RFC 9110, sections 8.8.3 and 13.1)."""

import hashlib
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header

from order_payments.api.views import ProductView
from order_payments.domain.products import Product

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
# A malformed If-Match matches nothing, which refuses the write. A malformed If-None-Match would match nothing as well,
# and so permit the write: its schema requires this pattern.
_TAGS = rf"^[ \t]*(?:\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*)[ \t]*$"

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1024,
        description="Entity tags, or `*`. The product is changed only if it exists and has one of these tags.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        max_length=1024,
        pattern=_TAGS,
        description="`*` creates the product only if it does not exist. Entity tags are those that it must not have.",
    ),
]


def entity_tag(product: Product) -> str:
    """Return the strong entity tag of the representation that `GET /products/{productId}` returns."""
    representation = json.dumps(ProductView.of(product).to_json(), sort_keys=True)
    return f'"{hashlib.sha256(representation.encode()).hexdigest()[:32]}"'


def meets_preconditions(product: Product | None, *, if_match: str | None, if_none_match: str | None) -> bool:
    """Return whether the product, or None if none is for sale, meets the preconditions of a request."""
    if if_match is not None and not _has_tag_of(if_match, product):
        return False
    return if_none_match is None or not _has_tag_of(if_none_match.replace("W/", ""), product)


def product_response(product: Product, headers: Mapping[str, str] | None = None) -> Response[ProductView]:
    """Return 200 with the product and its entity tag."""
    return Response(
        HTTPStatus.OK,
        content_type="application/json",
        body=ProductView.of(product),
        headers={"ETag": entity_tag(product), **(headers or {})},
    )


def _has_tag_of(header: str, product: Product | None) -> bool:
    """Return whether `header` matches the product, by strong comparison: a weak tag never matches."""
    if product is None:
        return False
    if re.fullmatch(_TAGS.removeprefix("^").removesuffix("$"), header) is None:
        return False
    return header.strip() == "*" or entity_tag(product) in re.findall(_TAG, header)
