"""What is wrong with this machine before a federation finds out: one page, each line with what to do.

Read in this order:

- `verdict`: one line of the page;
- `versions`, `accelerator`, `memory`, `disk`, `mounts`: the machine;
- `data_folder`, `workspace`: the folders of a site;
- `clock`, `keys`, `certificates`, `hub`, `grpc_health`: who talks to whom, and whether they believe each other;
- `ports`, `environment`: what else gets in the way;
- `examination`: which checks a command line asks for; `page`: how they are shown.

A file observes facts and judges them; judging is a function of the facts, so that every verdict can be tested on any
machine. No verdict names a file inside the data folder.

The services' launchers use single checks; nothing is imported here, so that they start without torch.
"""
