# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from option classes: declared with descriptors, checked together, set at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, fields, replace
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
)
from rclpy.exceptions import (
    InvalidParameterTypeException, InvalidParameterValueException, ParameterUninitializedException
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from aitable_ros.config import OF_ROS, QOS
from aitable_ros.errors import InputError
from aitable_ros.options import names_of, Options
from aitable_ros.rcl_yaml import near

TYPE_DESCRIPTIONS = 'start_type_description_service'
"""rclpy's parameter, from Jazzy on. When a node is destroyed the service that it starts stays in
the graph while another node of the context lives, with 95 kB (rclpy 9.1.2; all else: 0.1 kB), so
our nodes, and components, have it only when asked."""

_SPOKEN = {
    bool: 'true or false', int: 'an integer', float: 'a number with a decimal point',
    str: 'a string', tuple: 'a list of strings'}

_TYPES = {
    bool: Parameter.Type.BOOL, int: Parameter.Type.INTEGER, float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING, tuple: Parameter.Type.STRING_ARRAY}

Kind = TypeVar('Kind', bound=Options)


class ParameterRules(Node):  # type: ignore[misc]
    """The rules of our nodes for ROS's own parameter calls; its ``parameters`` hold the options."""

    def declare_parameter(self, name: str, *args: Any, **kwargs: Any) -> Parameter:
        """Declare a parameter; the one that describes types is False unless the user sets it."""
        if name == TYPE_DESCRIPTIONS and args:
            args = (False, *args[1:])
        return super().declare_parameter(name, *args, **kwargs)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all or none; the answer names the remedy for a parameter that cannot be set."""
        parameters: NodeParameters | None = getattr(self, 'parameters', None)
        if parameters:
            parameter_list = parameters.with_floats(parameter_list)
        refusal = parameters.refusal(parameter_list) if parameters else ''
        if refusal:
            return SetParametersResult(successful=False, reason=refusal)
        return super().set_parameters_atomically(parameter_list)


class NodeParameters:
    """
    The parameters of one node, as instances of the option classes they were declared from.

    :param kinds: no two of them share a field name
    :param changed: called with the new options before a change takes effect; may raise InputError
    :raises InputError: an override (file, launch, command line) has a wrong type or value
    """

    def __init__(
        self, node: Node, kinds: Sequence[type[Options]],
        changed: Callable[[NodeParameters], None],
    ) -> None:
        self._node = node
        self._changed = changed
        self._declared = {item.name: item for kind in kinds for item in fields(kind)}
        self._names = {name: item for item in self._declared.values() for name in names_of(item)}
        values = {name: self._declare(name, item) for name, item in self._names.items()}
        try:
            self._options = {
                kind: kind.from_mapping({
                    name: values[name] for item in fields(kind) for name in names_of(item)})
                for kind in kinds}
        except InputError as error:
            raise InputError(f'{node.get_fully_qualified_name()}: {error}') from None
        self._warn_of_unknown()
        node.add_on_set_parameters_callback(self._set)

    def __getitem__(self, kind: type[Kind]) -> Kind:
        """Return the current options of one class."""
        options = self._options[kind]
        assert isinstance(options, kind)
        return options

    def with_floats(self, parameters: Sequence[Parameter]) -> list[Parameter]:
        """Return the parameters with whole numbers, such as ``sleep_s:=5``, as the floats meant."""
        return [self._as_float(one) for one in parameters]

    def _as_float(self, parameter: Parameter) -> Parameter:
        item = self._names.get(parameter.name)
        if item and isinstance(item.default, float) and parameter.type_ is Parameter.Type.INTEGER:
            return Parameter(parameter.name, value=float(parameter.value))
        return parameter

    def refusal(self, parameters: Sequence[Parameter]) -> str:
        """Return why a request is refused, with the remedy; empty where ROS decides."""
        for parameter in parameters:
            item = self._names.get(parameter.name)
            if item is None:
                continue
            name, kind = item.name, type(item.default)
            if not item.metadata['dynamic']:
                how = 'start the node with another value'
                if name in ('model', 'fallbacks'):
                    service = f'{self._node.get_fully_qualified_name()}/reload_model'
                    how = f'call {service} with another model, or {how}'
                return f"parameter '{name}' is read-only, fixed while the node runs: {how}"
            if parameter.type_ is not _TYPES[kind]:
                return (
                    f"parameter '{name}' takes {_SPOKEN[kind]}, not {parameter.value!r} (wrong "
                    'parameter type)')
        return ''

    def _declare(self, name: str, item: Field[Any]) -> Any:
        default = item.default
        value = list(default) if isinstance(default, tuple) else default
        if value == []:  # rclpy would take it for a list of bytes: declared by type alone
            value = Parameter.Type.STRING_ARRAY
        node_name = self._node.get_fully_qualified_name()
        overrides = getattr(self._node, '_parameter_overrides', {})
        if name in overrides:
            overrides[name] = self._as_float(overrides[name])
        try:
            self._node.declare_parameter(name, value, _descriptor(name, item))
        except InvalidParameterTypeException:
            raise InputError(
                f"{node_name}: parameter '{name}' takes {_SPOKEN[type(default)]}") from None
        except InvalidParameterValueException:
            low, high = item.metadata['low'], item.metadata['high']
            raise InputError(
                f"{node_name}: parameter '{name}' must be from {low:g} to {high:g}") from None
        try:
            return self._node.get_parameter(name).value
        except ParameterUninitializedException:
            return default

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Check all values of one request together, then apply them together, or none."""
        ours = {
            parameter.name: parameter.value for parameter in parameters
            if parameter.name in self._declared}
        if not ours:
            return SetParametersResult(successful=True)
        before = self._options
        try:
            self._options = {
                kind: replace(options, **{
                    item.name: ours[item.name] for item in fields(kind) if item.name in ours})
                for kind, options in before.items()}
            self._changed(self)
        except (InputError, TimeoutError) as error:
            self._options = before
            return SetParametersResult(successful=False, reason=str(error) or 'the node is busy')
        return SetParametersResult(successful=True)

    def _warn_of_unknown(self) -> None:
        """Log parameters that no node declares: ROS ignores a misspelt one in silence."""
        overrides = getattr(self._node, '_parameter_overrides', {})
        for name in overrides:
            if self._node.has_parameter(name) or name in OF_ROS or name.startswith(QOS):
                continue
            self._node.get_logger().warning(
                f"unknown parameter '{name}' is ignored{near(name, list(self._names))}")


def _descriptor(name: str, item: Field[Any]) -> ParameterDescriptor:
    """Describe a field, under its name or its alias, as ``ros2 param describe`` shows it."""
    metadata = item.metadata
    choices = metadata.get('choices')
    descriptor = ParameterDescriptor(
        name=name,
        description=metadata['description'] if name == item.name else
        f"another name of '{item.name}'",
        additional_constraints=f'one of: {", ".join(choices)}' if choices else '',
        read_only=not metadata['dynamic'])
    low, high = metadata.get('low'), metadata.get('high')
    if low is not None and high is not None:  # a range has both ends; Options checks the others
        if isinstance(item.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
