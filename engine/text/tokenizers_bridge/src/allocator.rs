//! Memory by the system's allocator. Where it has none left C++ is told first, as `new` tells its
//! handler: Rust alone would abort, and no caller would learn why.

use std::alloc::{GlobalAlloc, Layout, System};

extern "C" {
    fn qd_allocation_failed();
}

struct Allocator;

unsafe fn checked(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        qd_allocation_failed();
    }
    memory
}

unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        checked(System.alloc(layout))
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        checked(System.alloc_zeroed(layout))
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        checked(System.realloc(memory, layout, size))
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        System.dealloc(memory, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;
