#pragma once

// Before what libfgdm.so exports: the names of these headers, and no others.
#define FGDM_API __attribute__((visibility("default")))
