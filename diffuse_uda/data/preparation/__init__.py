"""From a data set in any layout to centre folders: who goes where, under which name, and how it is written."""
