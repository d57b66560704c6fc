"""A small server that speaks the Hub protocol, so that the official client can be tested over real HTTP."""

from .server import HubServer

__all__ = ["HubServer"]
