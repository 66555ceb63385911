# SPDX-License-Identifier: GPL-2.0
#
# For gdb, connected to a QEMU: stop at each of $loads temporary breakpoints,
# where the CPU is about to load from what the A register points to, and have it find
# an error in that memory: an uncorrected one, in a load of data. Without KASLR the
# direct map is where it always is.
set pagination off
set confirm off
set $hits = 0
while $hits < $loads
  continue
  set $hits = $hits + 1
  printf "load %d at 0x%lx of 0x%lx\n", $hits, $pc, $rax
  eval "monitor mce -b 0 9 0xbd80000000000134 0x7 0x%lx 0x86", $rax - 0xffff888000000000
end
detach
