"""Options that belong together: declared once, handed to each command as one value.

Typer reads a command's options from its signature. ``takes`` puts a bundle's options in the place
of the parameter that wants their value, and makes the value of what was given::

    @takes(connection=CONNECTION)
    def health(*, connection: Connection) -> None: ...
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bundle:
    """Options and what they make.

    Attributes:
        options: By name the annotation, as Typer wants it, and the default.
        make: Called with the values by name.
    """

    options: Mapping[str, tuple[object, object]]
    make: Callable[..., object]


def takes(**bundles: Bundle) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of each bundle, and the values of its parameters of that name."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: object) -> None:
            made = {
                name: bundle.make(**{option: given.pop(option) for option in bundle.options})
                for name, bundle in bundles.items()
            }
            command(**given, **made)

        declared = inspect.signature(command)
        parameters = [
            option
            for parameter in declared.parameters.values()
            for option in _options(parameter, bundles.get(parameter.name))
        ]
        # typer reads both.
        run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _options(own: inspect.Parameter, bundle: Bundle | None) -> Iterator[inspect.Parameter]:
    """Yield the parameter itself, or those that stand in for it."""
    if bundle is None:
        yield own
        return
    for name, (annotation, default) in bundle.options.items():
        yield inspect.Parameter(name, own.KEYWORD_ONLY, default=default, annotation=annotation)
