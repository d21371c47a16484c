"""Where bytes come from: folders, archives, URLs, standard input; read-only throughout."""
