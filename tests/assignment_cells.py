"""The cells of an assignment, run as a student's kernel would run them."""

from nbformat import NotebookNode

from ncourse.exercises import graded


def run_cells(notebook: NotebookNode) -> None:
    """Run all code cells in one namespace; hints and solutions are on again afterwards."""
    namespace: dict[str, object] = {}
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source, namespace)
    finally:
        graded(False)
