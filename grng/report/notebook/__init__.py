"""Results as notebooks show them: pandas tables, plotly figures, HTML. Both packages are the extra `notebook`."""
