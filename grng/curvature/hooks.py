"""Forward hooks that an optimizer has on its model: gone with the optimizer, and right in every copy.

A hook knows its module and its owner only weakly, and does nothing for any other module. A copy of the model alone
(`copy.deepcopy`, `pickle`) gets hooks without an owner, which do nothing; a copy of model and optimizer together gets
hooks whose owner is the copied one, since owner and model refer to the same hook objects and copying keeps that.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


def _nobody() -> None:
    return None


class Hook:
    """A forward hook or forward pre-hook that calls `owner.method(module, args, output, *arguments)`.

    Args:
        method: Name of the owner's method.
        arguments: Passed on to it.
    """

    def __init__(self, method: str, *arguments: str) -> None:
        self._method, self._arguments = method, arguments
        # here, and not at the class: it loads the compiler, which takes longer than all of this package
        self._act: Callable[..., None] = torch.compiler.disable(_act)
        self._owner: Callable[[], HookOwner | None] = _nobody
        self._module: Callable[[], nn.Module | None] = _nobody

    def bind(self, owner: HookOwner, module: nn.Module) -> None:
        """Act for `owner` where the hook is called for `module`."""
        self._owner, self._module = weakref.ref(owner), weakref.ref(module)

    @property
    def idle(self) -> bool:
        """Whether the hook has no owner: it came with a copy of the model, or its owner is gone."""
        return self._owner() is None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any = None) -> None:
        """Act; whatever the owner's method returns changes neither inputs nor outputs."""
        # the compiler takes the first branch; outside of it the wrapper costs more than most of what is done here
        act = self._act if torch.compiler.is_compiling() else _act
        act(self, module, args, output)

    def __reduce__(self) -> tuple[object, ...]:
        return (Hook, (self._method, *self._arguments))


def _act(hook: Hook, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    owner = hook._owner()
    if owner is not None and module is hook._module():
        getattr(owner, hook._method)(module, args, output, *hook._arguments)


class HookOwner:
    """Base of what hooks a model on behalf of an optimizer; `close()` or its own end removes the hooks.

    Args:
        due: Asked by subclasses whether a hook is to act. A bound method is held weakly, so that no hook keeps an
            optimizer alive.
    """

    def __init__(self, due: Callable[[], bool]) -> None:
        self._due = _weakly(due)
        self._hooks: list[tuple[Hook, nn.Module]] = []
        self._handles: list[RemovableHandle] = []
        weakref.finalize(self, _remove_all, self._handles)

    def attach(
        self,
        module: nn.Module,
        method: str,
        *arguments: str,
        before: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> None:
        """Call `self.method(module, args, output, *arguments)` after every forward of `module`, or before it.

        Args:
            module: The module.
            method: Name of a method.
            arguments: Passed on to it.
            before: Before the forward (the output is then None) and before other such hooks.
            with_kwargs: With `before`: the forward's keyword arguments stand in the output's place.
            always_call: Also after a forward that raised.
        """
        _remove_idle(module)
        hook = Hook(method, *arguments)
        hook.bind(self, module)
        self._hooks.append((hook, module))
        if before:
            self._handles.append(module.register_forward_pre_hook(hook, prepend=True, with_kwargs=with_kwargs))
        else:
            self._handles.append(module.register_forward_hook(hook, always_call=always_call))

    def is_due(self) -> bool:
        """Ask the optimizer, where it still exists."""
        due = self._due()
        return due is not None and due()

    def close(self) -> None:
        """Remove the hooks."""
        _remove_all(self._handles)
        self._handles.clear()
        self._hooks.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_due": self._due()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _due=_weakly(state["_due"]))
        for hook, module in self._hooks:
            hook.bind(self, module)
        weakref.finalize(self, _remove_all, self._handles)


def _weakly(due: Callable[[], bool] | None) -> Callable[[], Callable[[], bool] | None]:
    return weakref.WeakMethod(due) if inspect.ismethod(due) else lambda: due


def _remove_all(handles: Sequence[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def _remove_idle(module: nn.Module) -> None:
    """Remove the hooks that nobody owns, lest a model that is copied from copy to copy gathers them."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key in [key for key, hook in hooks.items() if isinstance(hook, Hook) and hook.idle]:
            del hooks[key]
            module._forward_hooks_always_called.pop(key, None)
