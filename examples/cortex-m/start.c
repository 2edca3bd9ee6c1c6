/* What runs before main: the vector table, and memory as C expects it. */
#include <stdint.h>
#include <string.h>

#include "semihosting.h"

extern uint8_t data_in_flash[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];

int main(void);
void reset(void);

void reset(void)
{
    memcpy(data_begin, data_in_flash, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
#ifdef __ARM_FP
    /* Lets the program use the FPU. */
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb");
#endif
    (void)main();
    finish();
}

static void fault(void)
{
    say("fault\n");
    finish();
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(uintptr_t)stack_top, reset, fault, fault, fault, fault, fault
};
