"""Every figure that the README quotes, measured again in one go, with the raw runs kept."""
