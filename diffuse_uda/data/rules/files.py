"""Rules of files and containers: what must hold before a single voxel is looked at."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

_COPY_AGAIN = "copy the file again from its origin and compare checksums"

FILES = (
    Rule(
        slug="missing-folder",
        code="F01",
        reaction=Reaction.RUN,
        wanted="the centre's folder",
        fix="correct the path of this centre's data",
    ),
    Rule(
        slug="missing-file",
        code="F01",
        reaction=Reaction.CASE,
        wanted="a file",
        fix="restore the file, or take the case out",
    ),
    Rule(slug="empty-file", code="F02", reaction=Reaction.CASE, wanted="a scan", fix=_COPY_AGAIN),
    Rule(
        slug="truncated-gzip",
        code="F03",
        reaction=Reaction.CASE,
        wanted="a compressed stream with an end",
        fix=_COPY_AGAIN,
    ),
    Rule(
        slug="damaged-gzip",
        code="F04",
        reaction=Reaction.CASE,
        wanted="a stream that ends with the checksum of its content",
        fix=_COPY_AGAIN,
    ),
    Rule(
        slug="truncated-file",
        code="F05",
        reaction=Reaction.CASE,
        wanted="as many bytes as the header's own numbers need",
        fix=_COPY_AGAIN,
    ),
    Rule(
        slug="wrong-ending",
        code="F07",
        reaction=Reaction.CASE,
        wanted="a name that tells the content",
        fix="rename the file: .nii.gz for gzip data, .nii otherwise",
        correction="the same bytes under the right name",
    ),
    Rule(
        slug="wrong-magic",
        code="F08",
        reaction=Reaction.CASE,
        wanted="a NIfTI-1 or NIfTI-2 single file (size 348 or 540, magic b'n+1\\x00' or b'n+2\\x00')",
        fix="convert the scan to .nii.gz; renaming another format is not enough",
    ),
    Rule(
        slug="absurd-size",
        code="F10",
        reaction=Reaction.CASE,
        wanted="at most 2 GiB of voxels, a spacing of 0.01 mm or more, a field of view up to 3 m",
        fix="the header is damaged or not in millimetres, or the scan must be resampled first",
    ),
    Rule(
        slug="gzip-bomb",
        code="F11",
        reaction=Reaction.CASE,
        wanted="a stream that grows no more than scans do (250 times)",
        fix="look at the file: it is almost nothing but repetition, and no scan",
    ),
    Rule(
        slug="zero-dimension",
        code="F12",
        reaction=Reaction.CASE,
        wanted="three axes with at least one voxel each",
        fix="export the scan again from its source, or rewrite it with a tool that keeps its geometry",
    ),
    Rule(
        slug="pointer-file",
        code="F13",
        reaction=Reaction.CASE,
        wanted="the scan",
        fix="fetch the content (`git lfs pull`, `git annex get`)",
    ),
    Rule(
        slug="not-a-file", code="F14", reaction=Reaction.CASE, wanted="a regular file", fix="put the scan itself there"
    ),
    Rule(
        slug="link-leads-nowhere",
        code="F14",
        reaction=Reaction.CASE,
        wanted="a file",
        fix="replace the link by the file itself",
    ),
    Rule(
        slug="link-leaves-folder",
        code="F14",
        reaction=Reaction.CASE,
        wanted="files inside the centre's folder",
        fix="copy the file into the folder, or allow links out of it (--follow-links, `follow-links` of the site): "
        "what a site shares with a run is the folder, not the whole disk",
    ),
    Rule(
        slug="folder-outside",
        code="F14",
        reaction=Reaction.RUN,
        wanted="folders inside the centre's folder",
        fix="replace the link by the folder itself, or allow links out of it (--follow-links, `follow-links` of the "
        "site)",
    ),
    Rule(
        slug="unreadable-file",
        code="F15",
        reaction=Reaction.CASE,
        wanted="a file that this account may read",
        fix="check the file's permissions and its disk",
    ),
    Rule(
        slug="unreadable-folder",
        code="F15",
        reaction=Reaction.RUN,
        wanted="a folder that this account may list",
        fix="check the folder's permissions",
    ),
    Rule(
        slug="names-differ-by-case",
        code="F17",
        reaction=Reaction.RUN,
        wanted="names that differ in more than upper and lower case",
        fix="rename one of them: on another file system they would be one file",
    ),
    Rule(
        slug="changed-during-run",
        code="F18",
        reaction=Reaction.PAUSE,
        wanted="the very files that passed the gate, until the run has ended",
        fix="put the file back as it was, or start the run again: every start looks at all files",
        how="size and time of change of every file that passed, compared before cases are prepared or scored",
    ),
    Rule(
        slug="storage-gone",
        code="F19",
        reaction=Reaction.PAUSE,
        wanted="a disk that answers",
        fix="mount the disk again and start once more; nothing was decided about the files on it",
        how="errors of the mount itself, tried again three times within seven seconds, or a centre's folder that was "
        "there and no longer is",
    ),
    Rule(
        slug="unsupported-format",
        code="F20",
        reaction=Reaction.CASE,
        wanted="NIfTI-1 or NIfTI-2 single files, .nii.gz or .nii",
        fix="convert the scan to NIfTI (.nii.gz)",
    ),
    Rule(
        slug="case-name",
        code="F40",
        reaction=Reaction.CASE,
        wanted="letters, digits, and . _ + - inside the name",
        fix="rename the file (and its label map)",
    ),
    Rule(
        slug="channel-suffix",
        code="F41",
        reaction=Reaction.CASE,
        wanted="<case>_0000.nii.gz",
        fix="add _0000 to the name: it numbers the channel",
    ),
    Rule(
        slug="unexpected-file",
        code="F42",
        reaction=Reaction.WARN,
        wanted="only files ending in .nii.gz or .nii",
        fix="it is ignored; move it elsewhere",
    ),
    Rule(
        slug="wrong-offset",
        code="F43",
        reaction=Reaction.CASE,
        wanted="voxels right behind the header and its extensions",
        fix="export the scan again from its source, or rewrite it with a tool that keeps its geometry",
    ),
    Rule(
        slug="trailing-data",
        code="F44",
        reaction=Reaction.CASE,
        wanted="nothing after the last voxel",
        fix="the header does not describe this file; export the scan again",
    ),
    Rule(
        slug="prepared-cache",
        code="F45",
        reaction=Reaction.PAUSE,
        wanted="a cache of prepared cases",
        fix="delete it; it is made again from the scans",
    ),
    Rule(
        slug="no-scan",
        code="F46",
        reaction=Reaction.RUN,
        wanted="a NIfTI file, a folder of them, or the folder of a DICOM series",
        fix="name the scans that are meant",
    ),
)
