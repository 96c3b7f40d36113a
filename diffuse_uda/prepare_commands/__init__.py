"""`diffuse-uda prepare`: centre folders from data as hospitals and publishers have them."""

from diffuse_uda.prepare_commands import data_sets, formats
from diffuse_uda.prepare_commands.options import prepare

__all__ = ["data_sets", "formats", "prepare"]
