// The part of the address space where a launcher may keep its own memory (include/hpcvmm/base/layout.hh).
// Natively nothing is there, so every access must fail as it does on unmapped memory: that is what these
// tests compare.
#pragma once

#include "guest.h"

#ifdef __x86_64__
/// The launcher's image (headers, code, further in), its arena, the last page, page
/// before the end.
// Not here: the system-call entry at the beginning of the zone, which ring 3 must be able to execute on hosts
// that enter it there (vmm/engine/kvm/README.md).
static char* const kZone[] = {(char*)0x6a8000000000, (char*)0x6a8000001000, (char*)0x6a8000100000,
                              (char*)0x6a9000000000, (char*)0x6a9000001000, (char*)0x6a9ffffff000,
                              (char*)0x6affffffe000, (char*)0x6afffffff000};
#else
// An IA32 program cannot name the zone; its own top of the address space is tried instead.
static char* const kZone[] = {(char*)0xffffe000U, (char*)0xfffff000U};
#endif
enum { kZonePlaces = sizeof kZone / sizeof kZone[0], kPage = 4096 };
