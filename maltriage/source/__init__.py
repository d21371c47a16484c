"""Sources of bytes: folders, archives, URLs, standard input; read-only throughout."""
