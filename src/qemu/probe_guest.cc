// The small guest that decides whether KVM is usable (see probe_guest.h), in assembler.
//
// It takes the place of the firmware, so the answer comes in tenths of a second where KVM works. It
// takes the steps that an operating system takes first, because that is where half-working hosts
// stop: long mode with paging, a jump to the upper half, descriptor tables, CPUID and MSRs, swapgs,
// an exception, page-table switches, demand page faults with invlpg, ring 3 and back by
// syscall/sysret, the local APIC's timer, and plain work that an emulating host cannot do in the
// time allowed. Before each step it writes the step's letter, with its highest bit set so that no
// text of QEMU's can be taken for it, to port 0xe9; at the end it writes 0x2a to port 0xf4
// (isa-debug-exit: QEMU exits with 0x2a * 2 + 1).
#include "qemu/probe_guest.h"

#include <algorithm>
#include <span>

#include "base/result.h"

asm(R"(
.pushsection .rodata
.set LOAD, 0x100000
.set HIGH, 0xffffffff80000000
.set PML4, 0x200000
.set PDPT_LOW, 0x201000
.set PDPT_HIGH, 0x202000
.set PD_LOW, 0x203000
.set PD_TOP, 0x204000
.set PML4_B, 0x205000
.set PD_DEMAND, 0x206000
.set IDT, 0x207000
.set TSS, 0x208000
.set STACK, 0x210000
.set USER_STACK, 0x220000
.set TICKS, 0x221000
.set FAULTS, 0x221008
.set CALLS, 0x221010
.set DEMAND, 0x40000000
.balign 16
.globl hozon_probe_start
.globl hozon_probe_end
hozon_probe_start:
.set P, hozon_probe_start
.code32
entry:
 cli
 cld
 movl $STACK, %esp
 movb $('1' + 0x80), %al ; outb %al, $0xe9
 movl $PML4, %edi ; xorl %eax, %eax ; movl $0x8800, %ecx ; rep stosl
 movl $(PDPT_LOW + 7), PML4
 movl $(PDPT_HIGH + 7), PML4 + 511 * 8
 movl $(PD_LOW + 7), PDPT_LOW
 movl $(PD_TOP + 7), PDPT_LOW + 3 * 8
 movl $(PD_LOW + 7), PDPT_HIGH + 510 * 8
 movl $PD_LOW, %edi ; movl $0x87, %eax ; movl $32, %ecx
1: movl %eax, (%edi) ; addl $0x200000, %eax ; addl $8, %edi ; loop 1b
 movl $(0xfee00000 + 0x9b), PD_TOP + 0x1f7 * 8
 movl $PML4, %esi ; movl $PML4_B, %edi ; movl $1024, %ecx ; rep movsl
 movl %cr4, %eax ; orl $0x620, %eax ; movl %eax, %cr4
 movl $PML4, %eax ; movl %eax, %cr3
 movl $0xc0000080, %ecx ; rdmsr ; orl $0x901, %eax ; wrmsr
 movl %cr0, %eax ; andl $0xfffffffb, %eax ; orl $0x80010002, %eax ; movl %eax, %cr0
 lgdt LOAD + (gdt_low - P)
 ljmp $8, $(LOAD + (long_mode - P))

.balign 8
gdt: .quad 0
 .quad 0x00af9b000000ffff   /* 08 kernel code */
 .quad 0x00cf93000000ffff   /* 10 kernel data */
 .quad 0x00cffb000000ffff   /* 18 user code 32 */
 .quad 0x00cff3000000ffff   /* 20 user data */
 .quad 0x00affb000000ffff   /* 28 user code 64 */
 .quad 0x0000890000000067 + ((TSS & 0xffffff) << 16), 0xffffffff /* 30 tss: base HIGH+TSS */
gdt_end:
gdt_low: .word gdt_end - gdt - 1 ; .long LOAD + (gdt - P)
gdt_high: .word gdt_end - gdt - 1 ; .quad HIGH + LOAD + (gdt - P)
idt_high: .word 0xfff ; .quad HIGH + IDT

.code64
long_mode:
 movb $('2' + 0x80), %al ; outb %al, $0xe9
 movw $0x10, %ax ; movw %ax, %ds ; movw %ax, %es ; movw %ax, %ss
 xorl %eax, %eax ; movw %ax, %fs ; movw %ax, %gs
 movabsq $(HIGH + LOAD + (high - P)), %rax
 jmp *%rax
high:
 movabsq $(HIGH + STACK), %rsp
 lgdt gdt_high(%rip)
 lidt idt_high(%rip)
 movb $('3' + 0x80), %al ; outb %al, $0xe9
 /* the stack for interrupts from ring 3 */
 movabsq $(HIGH + TSS), %rdi
 movabsq $(HIGH + STACK), %rax ; movq %rax, 4(%rdi)
 /* bits 24..31 of the TSS base, which the assembler cannot split off the sum above */
 movb $0x80, gdt + 0x37(%rip)
 movw $0x30, %ax ; ltr %ax
 leaq on_timer(%rip), %rax ; movl $32, %ecx ; call set_gate
 leaq on_fault(%rip), %rax ; movl $14, %ecx ; call set_gate
 leaq on_breakpoint(%rip), %rax ; movl $3, %ecx ; call set_gate
 leaq on_spurious(%rip), %rax ; movl $255, %ecx ; call set_gate
 /* CPUID and MSRs */
 movb $('4' + 0x80), %al ; outb %al, $0xe9
 xorl %eax, %eax ; cpuid ; movl $1, %eax ; cpuid
 movl $0x80000001, %eax ; xorl %ecx, %ecx ; cpuid ; btl $29, %edx ; jnc fail
 movl $0x1b, %ecx ; rdmsr
 movl $0x277, %ecx ; rdmsr ; wrmsr
 movl $0xc0000100, %ecx ; movl $0x12345000, %eax ; xorl %edx, %edx ; wrmsr ; rdmsr
 cmpl $0x12345000, %eax ; jne fail
 movl $0xc0000102, %ecx ; movl $0x1000, %eax ; movl $0xffff8880, %edx ; wrmsr
 swapgs
 movl $0xc0000101, %ecx ; rdmsr ; cmpl $0xffff8880, %edx ; jne fail
 swapgs
 int3
 /* page table switches, invlpg, demand faults */
 movb $('5' + 0x80), %al ; outb %al, $0xe9
 movl $1000, %r12d
2: movl $PML4_B, %eax ; movq %rax, %cr3
 movl $PML4, %eax ; movq %rax, %cr3
 decl %r12d ; jnz 2b
 movb $('6' + 0x80), %al ; outb %al, $0xe9
 /* every write to DEMAND faults, is mapped by on_fault, and is unmapped again */
 movl $1000, %r12d
 movl $DEMAND, %ebx
3: movq %r12, (%rbx)
 movabsq $(HIGH + PD_DEMAND), %rdi ; movq $0, (%rdi) ; invlpg (%rbx)
 decl %r12d ; jnz 3b
 movabsq $(HIGH + FAULTS), %rdi ; cmpq $1000, (%rdi) ; jne fail
 /* ring 3 and back */
 movb $('7' + 0x80), %al ; outb %al, $0xe9
 movl $0xc0000081, %ecx ; xorl %eax, %eax ; movl $0x00180008, %edx ; wrmsr
 leaq on_syscall(%rip), %rax ; movq %rax, %rdx ; shrq $32, %rdx ; movl $0xc0000082, %ecx ; wrmsr
 movl $0xc0000084, %ecx ; movl $0x200, %eax ; xorl %edx, %edx ; wrmsr
 movl $(LOAD + (user - P)), %ecx
 movl $0x2, %r11d
 movl $USER_STACK, %esp
 sysretq
user:
 movl $10000, %ebx
4: xorl %eax, %eax ; syscall
 decl %ebx ; jnz 4b
 movl $1, %eax ; syscall
 ud2
on_syscall:
 testl %eax, %eax ; jnz user_done
 movabsq $(HIGH + CALLS), %rdi ; incq (%rdi)
 sysretq
user_done:
 movabsq $(HIGH + STACK), %rsp
 movabsq $(HIGH + CALLS), %rdi ; cmpq $10000, (%rdi) ; jne fail
 movw $0x10, %ax ; movw %ax, %ds ; movw %ax, %es ; movw %ax, %ss
 /* local APIC timer: 20 interrupts */
 movb $('8' + 0x80), %al ; outb %al, $0xe9
 movl $0xfee00000, %esi
 movl $0x1ff, 0xf0(%rsi)
 movl $0xb, 0x3e0(%rsi)
 movl $(0x20000 | 32), 0x320(%rsi)
 movl $200000, 0x380(%rsi)
 movabsq $(HIGH + TICKS), %rdi
5: sti ; hlt ; cli
 cmpq $20, (%rdi) ; jb 5b
 movl $0x10000, 0x320(%rsi)
 /* plain work in ring 0 */
 movb $('9' + 0x80), %al ; outb %al, $0xe9
 movl $20000000, %ecx
6: decl %ecx ; jnz 6b
 movl $8, %edx
7: movl $0x400000, %esi ; movl $0x800000, %edi ; movl $0x80000, %ecx ; rep movsq
 decl %edx ; jnz 7b
 movb $('A' + 0x80), %al ; outb %al, $0xe9
 movb $0x2a, %al ; outb %al, $0xf4
8: hlt ; jmp 8b
fail:
 movb $('!' + 0x80), %al ; outb %al, $0xe9
 movb $0x01, %al ; outb %al, $0xf4
 jmp 8b

set_gate: /* vector ecx, handler rax */
 movabsq $(HIGH + IDT), %rdi ; shll $4, %ecx ; addq %rcx, %rdi
 movw %ax, (%rdi) ; movw $8, 2(%rdi) ; movw $0x8e00, 4(%rdi)
 shrq $16, %rax ; movw %ax, 6(%rdi) ; shrq $16, %rax ; movl %eax, 8(%rdi) ; movl $0, 12(%rdi)
 ret
on_timer:
 pushq %rdi
 movabsq $(HIGH + TICKS), %rdi ; incq (%rdi)
 movl $0xfee00000, %edi ; movl $0, 0xb0(%rdi)
 popq %rdi
 iretq
on_breakpoint:
on_spurious:
 iretq
on_fault:
 pushq %rdi ; pushq %rax
 movq %cr2, %rax ; cmpq $DEMAND, %rax ; jne fail
 movabsq $(HIGH + PDPT_LOW), %rdi ; movq $(PD_DEMAND + 7), 8(%rdi)
 movabsq $(HIGH + PD_DEMAND), %rdi ; movq $0x1000087, (%rdi)
 movabsq $(HIGH + FAULTS), %rdi ; incq (%rdi)
 popq %rax ; popq %rdi
 addq $8, %rsp
 iretq
hozon_probe_end:

/* the last 256 bytes of the firmware: from the reset vector to 32 bits, then the copy to LOAD */
hozon_probe_reset:
.set R, hozon_probe_reset
.set ROM, 0xffff0000
.set TAIL, 0xff00
.code16
reset_16:
 cli
 lgdtl %cs:(TAIL + (gdt_32_pointer - R))
 movl %cr0, %eax ; orl $1, %eax ; movl %eax, %cr0
 ljmpl $8, $(ROM + TAIL + (reset_32 - R))
.code32
reset_32:
 movw $0x10, %ax ; movw %ax, %ds ; movw %ax, %es ; movw %ax, %ss
 cld
 movl $ROM, %esi ; movl $LOAD, %edi ; movl $0x1000, %ecx ; rep movsl
 movl $(LOAD + (entry - P)), %eax
 jmp *%eax
.balign 8
gdt_32: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_32_pointer: .word 23 ; .long ROM + TAIL + (gdt_32 - R)
.fill 0xf0 - (. - hozon_probe_reset), 1, 0
.code16
 jmp reset_16
.fill 0x100 - (. - hozon_probe_reset), 1, 0
.globl hozon_probe_reset

.popsection
.code64
)");

extern "C" const std::byte hozon_probe_start[];
extern "C" const std::byte hozon_probe_end[];
extern "C" const std::byte hozon_probe_reset[];

namespace hozon {

std::vector<std::byte> probe_guest_firmware() {
  constexpr size_t kRomBytes = 64 << 10;
  constexpr size_t kTailBytes = 256;
  constexpr size_t kCopiedBytes = 0x1000 * 4;  // what reset_32 copies
  const std::span<const std::byte> program(hozon_probe_start, hozon_probe_end);
  HOZON_CHECK(program.size() <= kCopiedBytes);
  std::vector<std::byte> rom(kRomBytes);
  std::ranges::copy(program, rom.begin());
  std::ranges::copy(std::span(hozon_probe_reset, kTailBytes), rom.end() - kTailBytes);
  return rom;
}

std::string_view probe_guest_step(char byte) {
  switch (static_cast<unsigned char>(byte) ^ 0x80) {
    case '1': return "entry to long mode";
    case '2': return "jump to the upper half of the address space";
    case '3': return "load of the task state";
    case '4': return "use of CPUID, MSRs, swapgs or a breakpoint";
    case '5': return "switch of page tables";
    case '6': return "handling of page faults";
    case '7': return "way to ring 3 and back";
    case '8': return "use of the local APIC timer";
    case '9': return "plain computing";
    case 'A': return "end";
    case '!': return "check of what it had set";
    default: return {};
  }
}

}  // namespace hozon
