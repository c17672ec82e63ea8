"""The device: which one trains, what it is called, what it holds, and in which number format it computes well.

`description` says what is known of a device, `precision` what `mixed_precision: auto` means on it. `finding` looks for it
from a process without torch: by `installed_torch`, `graphics` and `processor`, and where these can't tell by `probe`, a child.
`accelerator` is the side of the processes that have torch. No other module names a kind of device.
"""
