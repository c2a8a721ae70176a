# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The component container: ``ros2 component`` and launch_ros load and unload our nodes in it.

rclpy has no container of its own. This one serves what rclcpp's does, where the package
``composition_interfaces`` is installed (any ROS 2 desktop or base install; not among the wheels).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from aitable_ros.errors import InputError
from aitable_ros.nodes.composition import component_class, Composition
from aitable_ros.nodes.model_paths import refusal, SWITCH
from aitable_ros.nodes.parameters import TYPE_DESCRIPTIONS


class Container(Node):  # type: ignore[misc]
    """
    A node with ``~/_container/load_node``, ``unload_node`` and ``list_nodes``.

    :raises InputError: ``composition_interfaces`` is not installed
    """

    def __init__(self, composition: Composition, **kwargs: Any) -> None:
        try:
            from composition_interfaces.srv import ListNodes, LoadNode, UnloadNode
        except ImportError:
            raise InputError(
                "the package 'composition_interfaces' is not installed here, and without it "
                "nothing can be loaded: install ROS 2's ros-base, or start 'pipeline'") from None
        super().__init__('aitable_container', **kwargs)
        self._composition = composition
        self._model_folder_only = bool(self.declare_parameter(SWITCH, True, ParameterDescriptor(
            description='components may be loaded only with models of the model folder',
            read_only=True)).value)
        self.create_service(LoadNode, '~/_container/load_node', self._load)
        self.create_service(UnloadNode, '~/_container/unload_node', self._unload)
        self.create_service(ListNodes, '~/_container/list_nodes', self._list)

    def _load(self, request: Any, response: Any) -> Any:
        try:
            component = self._composition.load(
                request.plugin_name, **self._node_arguments(request))
        except Exception as error:  # whatever a foreign node raises, the container lives on
            response.success = False
            response.error_message = str(error) or type(error).__name__
            self.get_logger().error(f'{request.plugin_name}: {response.error_message}')
            return response
        response.success = True
        response.unique_id = component.unique_id
        response.full_node_name = component.node.get_fully_qualified_name()
        return response

    def _node_arguments(self, request: Any) -> dict[str, Any]:
        """
        Return the arguments of a component's constructor.

        :raises InputError: the name is taken, or a model may not be named so; found out before the
            node exists
        """
        parameters = [Parameter.from_parameter_msg(message) for message in request.parameters]
        if self._model_folder_only:
            reason = refusal({parameter.name: parameter.value for parameter in parameters})
            if reason:
                raise InputError(reason)
        remaps = list(request.remap_rules)
        if request.node_name:
            remaps.append(f'__node:={request.node_name}')
        namespace = f'/{request.node_namespace.strip("/")}'  # ros2cli takes one without a slash
        if request.node_namespace:
            remaps.append(f'__ns:={namespace}')
        name = request.node_name or getattr(component_class(request.plugin_name), 'NAME', '')
        if name:
            full = f'{namespace.rstrip("/")}/{name}'
            if any(one.node.get_fully_qualified_name() == full
                   for one in self._composition.components):
                raise InputError(f'a node {full} is loaded already')
        if TYPE_DESCRIPTIONS not in {parameter.name for parameter in parameters} and find_spec(
                'rclpy.type_description_service') is not None:
            parameters.append(Parameter(TYPE_DESCRIPTIONS, value=False))
        return {
            'cli_args': ['--ros-args', *(word for rule in remaps for word in ('-r', rule))],
            'use_global_arguments': False,
            'parameter_overrides': parameters,
        }

    def _unload(self, request: Any, response: Any) -> Any:
        try:
            self._composition.unload(int(request.unique_id))
            response.success = True
        except InputError as error:
            response.success, response.error_message = False, str(error)
        return response

    def _list(self, request: Any, response: Any) -> Any:
        for component in self._composition.components:
            response.full_node_names.append(component.node.get_fully_qualified_name())
            response.unique_ids.append(component.unique_id)
        return response

