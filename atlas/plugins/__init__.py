"""The hooks, and the plugins that implement them: found, loaded, installed and made."""
