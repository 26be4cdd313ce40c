// The one source of the targets that make the precompiled headers.
