"""The loader that models registered by earlier versions name; it is in `tabular.registry` now."""

from scorestream.tabular.registry.loading import _load_pyfunc

__all__ = ["_load_pyfunc"]
