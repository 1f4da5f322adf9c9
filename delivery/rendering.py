"""Rendering of `template.yaml` as in CloudFormation: SAM transform applied, parameters and conditions resolved.

`make scan` scans a rendering for each environment in `samconfig.toml`.
"""

import copy
import logging
import re
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any, Self

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from command_line.project import PROJECT
from delivery.samconfig import read_samconfig, saved_parameters

RENDERING_REGION = "eu-central-1"
SAMCONFIG: Mapping[str, Any] = read_samconfig()

SECRET = {"StripeSecretArn": f"arn:aws:secretsmanager:{RENDERING_REGION}:123456789012:secret:stripe-AbCdEf"}
ACCOUNT_PARAMETERS: Mapping[str, Mapping[str, str]] = {"dev": {}, "staging": SECRET, "production": SECRET}
"""Example values, by environment, of the parameters that `samconfig.toml` leaves to the account."""

_NO_VALUE = {"Ref": "AWS::NoValue"}


@cache
def template() -> dict[str, Any]:
    """Return the parsed template, with intrinsic functions in long form."""
    parsed: dict[str, Any] = yaml_parse((PROJECT / "template.yaml").read_text())
    return parsed


class Rendering:
    """The template rendered with the given parameters, and with defaults for the others."""

    def __init__(self, given: Mapping[str, str]) -> None:
        defaults = {name: str(p["Default"]) for name, p in template()["Parameters"].items() if "Default" in p}
        unknown = given.keys() - template()["Parameters"].keys()
        assert not unknown, f"the template has no parameters {unknown}"
        self.parameters = {**defaults, **given}

    @cached_property
    def conditions(self) -> dict[str, bool]:
        return {name: self._is_true(each) for name, each in template()["Conditions"].items()}

    @cached_property
    def resources(self) -> dict[str, Any]:
        return self._render_section("Resources")

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return self._render_section("Outputs")

    @classmethod
    def of_environment(cls, name: str, **more: str) -> Self:
        return cls({**saved_parameters(SAMCONFIG, name), **ACCOUNT_PARAMETERS[name], **more})

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: r.get("Properties", {}) for name, r in self.resources.items() if r["Type"] == kind}

    def broken_rules(self) -> list[str]:
        """Return the descriptions of the template rules that these parameters break."""
        return [
            assertion["AssertDescription"]
            for rule in template()["Rules"].values()
            if self._is_true(rule.get("RuleCondition", {"Fn::Equals": ["", ""]}))
            for assertion in rule["Assertions"]
            if not self._is_true(assertion["Assert"])
        ]

    def refused_values(self) -> list[str]:
        """Return the names of parameters whose values the template does not allow."""
        return [
            name
            for name, parameter in template()["Parameters"].items()
            if not _is_allowed(self.parameters.get(name), parameter)
        ]

    def as_template(self) -> dict[str, Any]:
        return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": self.resources, "Outputs": self.outputs}

    def _render_section(self, section: str) -> dict[str, Any]:
        transformed = _transform(tuple(sorted(self.parameters.items())))
        return {
            name: {key: value for key, value in self._resolve(each).items() if key != "Condition"}
            for name, each in transformed[section].items()
            if self.conditions.get(each.get("Condition", ""), True)
        }

    def _is_true(self, condition: Any) -> bool:
        ((function, operands),) = condition.items()
        match function:
            case "Fn::Equals":
                one, other = map(self._resolve, operands)
                return str(one) == str(other)
            case "Fn::Not":
                return not self._is_true(operands[0])
            case "Fn::And":
                return all(map(self._is_true, operands))
            case "Fn::Or":
                return any(map(self._is_true, operands))
            case "Condition":
                return self._is_true(template()["Conditions"][operands])
        raise ValueError(f"CloudFormation has no condition {function}")

    def _resolve(self, value: Any) -> Any:
        """Resolve parameters, mappings and conditions in a value. Values that only a deployment has stay unresolved."""
        match value:
            case {"Ref": str(name)} if name in self.parameters:
                return self.parameters[name]
            case {"Fn::Sub": str(text)}:
                substituted = re.sub(r"\$\{(\w+)\}", lambda name: self.parameters.get(name[1], name[0]), text)
                return {"Fn::Sub": substituted} if "${" in substituted else substituted
            case {"Fn::If": [condition, if_true, if_false]}:
                return self._resolve(if_true if self.conditions[condition] else if_false)
            case {"Fn::FindInMap": [name, *keys]}:
                first, second = map(self._resolve, keys)
                return template()["Mappings"][name][first][second]
            case dict():
                resolved = {key: self._resolve(each) for key, each in value.items()}
                return {key: each for key, each in resolved.items() if each != _NO_VALUE}
            case list():
                return [resolved for each in value if (resolved := self._resolve(each)) != _NO_VALUE]
        return value


@cache
def _transform(parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    source = copy.deepcopy(template())
    for resource in source["Resources"].values():
        for place in ("CodeUri", "ContentUri"):
            if place in resource.get("Properties", {}):
                resource["Properties"][place] = "s3://bucket/key"  # as after `sam package`
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)
    translator = Translator({}, Parser(), None, boto3.Session(region_name=RENDERING_REGION))
    transformed: dict[str, Any] = translator.translate(source, dict(parameters))
    return transformed


def _is_allowed(value: str | None, parameter: Mapping[str, Any]) -> bool:
    if value is None:
        return False
    allowed = [str(each) for each in parameter.get("AllowedValues", [value])]
    pattern = parameter.get("AllowedPattern", ".*")
    in_range = parameter["Type"] != "Number" or (
        parameter.get("MinValue", float("-inf")) <= float(value) <= parameter.get("MaxValue", float("inf"))
    )
    long_enough = len(value) >= parameter.get("MinLength", 0)
    return value in allowed and re.fullmatch(pattern, value, re.DOTALL) is not None and in_range and long_enough
