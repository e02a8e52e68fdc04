declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare float @llvm.nvvm.shfl.sync.bfly.f32(i32, float, i32, i32)
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

define ptx_kernel void @div_7c47e27f542cb33b(ptr noalias readonly %b0, ptr noalias %b1) #0 {
entry:
  %tid.1 = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %cta.2 = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %first.3 = mul i32 %cta.2, 4
  %q.4 = udiv i32 %tid.1, 32
  %q.5 = urem i32 %tid.1, 32
  %row.6 = add i32 %first.3, %q.4
  %in.7 = icmp ult i32 %q.5, 16
  %unit.8 = select i1 %in.7, i32 %q.5, i32 15
  %base.9 = mul i32 %unit.8, 4
  %x.10 = mul i32 %row.6, 64
  %x.11 = add i32 %x.10, %base.9
  %p.12 = getelementptr float, ptr %b0, i32 %x.11
  %l.13 = load <4 x float>, ptr %p.12, align 16
  %v.14 = fcmp ogt <4 x float> splat (float 0xFFF0000000000000), %l.13
  %s.15 = select <4 x i1> %v.14, <4 x float> splat (float 0xFFF0000000000000), <4 x float> %l.13
  %s.16 = select i1 %in.7, <4 x float> %s.15, <4 x float> splat (float 0xFFF0000000000000)
  %half.17 = shufflevector <4 x float> %s.16, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %half.18 = shufflevector <4 x float> %s.16, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %v.19 = fcmp ogt <2 x float> %half.18, %half.17
  %s.20 = select <2 x i1> %v.19, <2 x float> %half.18, <2 x float> %half.17
  %v.21 = fcmp uno <2 x float> %half.18, %half.18
  %s.22 = select <2 x i1> %v.21, <2 x float> %half.18, <2 x float> %s.20
  %half.23 = shufflevector <2 x float> %s.22, <2 x float> poison, <1 x i32> <i32 0>
  %half.24 = shufflevector <2 x float> %s.22, <2 x float> poison, <1 x i32> <i32 1>
  %v.25 = fcmp ogt <1 x float> %half.24, %half.23
  %s.26 = select <1 x i1> %v.25, <1 x float> %half.24, <1 x float> %half.23
  %v.27 = fcmp uno <1 x float> %half.24, %half.24
  %s.28 = select <1 x i1> %v.27, <1 x float> %half.24, <1 x float> %s.26
  %sum.29 = extractelement <1 x float> %s.28, i64 0
  %shfl.30 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %sum.29, i32 16, i32 31)
  %v.31 = fcmp ogt float %shfl.30, %sum.29
  %s.32 = select i1 %v.31, float %shfl.30, float %sum.29
  %v.33 = fcmp uno float %shfl.30, %shfl.30
  %s.34 = select i1 %v.33, float %shfl.30, float %s.32
  %shfl.35 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %s.34, i32 8, i32 31)
  %v.36 = fcmp ogt float %shfl.35, %s.34
  %s.37 = select i1 %v.36, float %shfl.35, float %s.34
  %v.38 = fcmp uno float %shfl.35, %shfl.35
  %s.39 = select i1 %v.38, float %shfl.35, float %s.37
  %shfl.40 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %s.39, i32 4, i32 31)
  %v.41 = fcmp ogt float %shfl.40, %s.39
  %s.42 = select i1 %v.41, float %shfl.40, float %s.39
  %v.43 = fcmp uno float %shfl.40, %shfl.40
  %s.44 = select i1 %v.43, float %shfl.40, float %s.42
  %shfl.45 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %s.44, i32 2, i32 31)
  %v.46 = fcmp ogt float %shfl.45, %s.44
  %s.47 = select i1 %v.46, float %shfl.45, float %s.44
  %v.48 = fcmp uno float %shfl.45, %shfl.45
  %s.49 = select i1 %v.48, float %shfl.45, float %s.47
  %shfl.50 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %s.49, i32 1, i32 31)
  %v.51 = fcmp ogt float %shfl.50, %s.49
  %s.52 = select i1 %v.51, float %shfl.50, float %s.49
  %v.53 = fcmp uno float %shfl.50, %shfl.50
  %s.54 = select i1 %v.53, float %shfl.50, float %s.52
  %in.55 = icmp ult i32 %q.5, 16
  %unit.56 = select i1 %in.55, i32 %q.5, i32 15
  %base.57 = mul i32 %unit.56, 4
  %x.58 = mul i32 %row.6, 64
  %x.59 = add i32 %x.58, %base.57
  %p.60 = getelementptr float, ptr %b0, i32 %x.59
  %l.61 = load <4 x float>, ptr %p.60, align 16
  %b.62 = insertelement <4 x float> poison, float %s.54, i64 0
  %b.63 = shufflevector <4 x float> %b.62, <4 x float> poison, <4 x i32> zeroinitializer
  %v.64 = fsub <4 x float> %l.61, %b.63
  %v.65 = fcmp ogt <4 x float> %v.64, splat (float 0x4056800000000000)
  %s.66 = select <4 x i1> %v.65, <4 x float> splat (float 0x4056800000000000), <4 x float> %v.64
  %v.67 = fcmp olt <4 x float> %s.66, splat (float 0xC05A000000000000)
  %s.68 = select <4 x i1> %v.67, <4 x float> splat (float 0xC05A000000000000), <4 x float> %s.66
  %f.69 = call <4 x float> @llvm.fma.v4f32(<4 x float> %s.68, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168001FC0000000))
  %v.70 = fsub <4 x float> %f.69, splat (float 0x4168001FC0000000)
  %f.71 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.70, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %s.68)
  %f.72 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.70, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %f.71)
  %c.73 = bitcast <4 x float> %f.69 to <4 x i32>
  %f.74 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56D83AE0000000), <4 x float> %f.72, <4 x float> splat (float 0x3F81241180000000))
  %f.75 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.74, <4 x float> %f.72, <4 x float> splat (float 0x3FA5554B80000000))
  %f.76 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.75, <4 x float> %f.72, <4 x float> splat (float 0x3FC5554880000000))
  %f.77 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.76, <4 x float> %f.72, <4 x float> splat (float 0x3FE0000000000000))
  %f.78 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.77, <4 x float> %f.72, <4 x float> splat (float 0x3FF0000000000000))
  %f.79 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.78, <4 x float> %f.72, <4 x float> splat (float 0x3FF0000000000000))
  %v.80 = shl <4 x i32> %c.73, splat (i32 22)
  %v.81 = and <4 x i32> %v.80, splat (i32 -8388608)
  %v.82 = shl <4 x i32> %c.73, splat (i32 23)
  %v.83 = sub <4 x i32> %v.82, %v.81
  %c.84 = bitcast <4 x i32> %v.81 to <4 x float>
  %v.85 = fmul <4 x float> %f.79, %c.84
  %c.86 = bitcast <4 x i32> %v.83 to <4 x float>
  %v.87 = fmul <4 x float> %v.85, %c.86
  %v.88 = fadd <4 x float> splat (float 0x0000000000000000), %v.87
  %s.89 = select i1 %in.55, <4 x float> %v.88, <4 x float> splat (float 0x0000000000000000)
  %half.90 = shufflevector <4 x float> %s.89, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %half.91 = shufflevector <4 x float> %s.89, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %v.92 = fadd <2 x float> %half.90, %half.91
  %half.93 = shufflevector <2 x float> %v.92, <2 x float> poison, <1 x i32> <i32 0>
  %half.94 = shufflevector <2 x float> %v.92, <2 x float> poison, <1 x i32> <i32 1>
  %v.95 = fadd <1 x float> %half.93, %half.94
  %sum.96 = extractelement <1 x float> %v.95, i64 0
  %shfl.97 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %sum.96, i32 16, i32 31)
  %v.98 = fadd float %sum.96, %shfl.97
  %shfl.99 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.98, i32 8, i32 31)
  %v.100 = fadd float %v.98, %shfl.99
  %shfl.101 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.100, i32 4, i32 31)
  %v.102 = fadd float %v.100, %shfl.101
  %shfl.103 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.102, i32 2, i32 31)
  %v.104 = fadd float %v.102, %shfl.103
  %shfl.105 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.104, i32 1, i32 31)
  %v.106 = fadd float %v.104, %shfl.105
  %in.107 = icmp ult i32 %q.5, 16
  %unit.108 = select i1 %in.107, i32 %q.5, i32 15
  br i1 %in.107, label %if.109, label %if_done.110
if.109:
  %base.111 = mul i32 %unit.108, 4
  %x.112 = mul i32 %row.6, 64
  %x.113 = add i32 %x.112, %base.111
  %p.114 = getelementptr float, ptr %b0, i32 %x.113
  %l.115 = load <4 x float>, ptr %p.114, align 16
  %b.116 = insertelement <4 x float> poison, float %s.54, i64 0
  %b.117 = shufflevector <4 x float> %b.116, <4 x float> poison, <4 x i32> zeroinitializer
  %v.118 = fsub <4 x float> %l.115, %b.117
  %v.119 = fcmp ogt <4 x float> %v.118, splat (float 0x4056800000000000)
  %s.120 = select <4 x i1> %v.119, <4 x float> splat (float 0x4056800000000000), <4 x float> %v.118
  %v.121 = fcmp olt <4 x float> %s.120, splat (float 0xC05A000000000000)
  %s.122 = select <4 x i1> %v.121, <4 x float> splat (float 0xC05A000000000000), <4 x float> %s.120
  %f.123 = call <4 x float> @llvm.fma.v4f32(<4 x float> %s.122, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168001FC0000000))
  %v.124 = fsub <4 x float> %f.123, splat (float 0x4168001FC0000000)
  %f.125 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.124, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %s.122)
  %f.126 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.124, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %f.125)
  %c.127 = bitcast <4 x float> %f.123 to <4 x i32>
  %f.128 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56D83AE0000000), <4 x float> %f.126, <4 x float> splat (float 0x3F81241180000000))
  %f.129 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.128, <4 x float> %f.126, <4 x float> splat (float 0x3FA5554B80000000))
  %f.130 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.129, <4 x float> %f.126, <4 x float> splat (float 0x3FC5554880000000))
  %f.131 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.130, <4 x float> %f.126, <4 x float> splat (float 0x3FE0000000000000))
  %f.132 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.131, <4 x float> %f.126, <4 x float> splat (float 0x3FF0000000000000))
  %f.133 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.132, <4 x float> %f.126, <4 x float> splat (float 0x3FF0000000000000))
  %v.134 = shl <4 x i32> %c.127, splat (i32 22)
  %v.135 = and <4 x i32> %v.134, splat (i32 -8388608)
  %v.136 = shl <4 x i32> %c.127, splat (i32 23)
  %v.137 = sub <4 x i32> %v.136, %v.135
  %c.138 = bitcast <4 x i32> %v.135 to <4 x float>
  %v.139 = fmul <4 x float> %f.133, %c.138
  %c.140 = bitcast <4 x i32> %v.137 to <4 x float>
  %v.141 = fmul <4 x float> %v.139, %c.140
  %b.142 = insertelement <4 x float> poison, float %v.106, i64 0
  %b.143 = shufflevector <4 x float> %b.142, <4 x float> poison, <4 x i32> zeroinitializer
  %v.144 = fdiv <4 x float> %v.141, %b.143
  %x.145 = add i32 %x.112, %base.111
  %p.146 = getelementptr float, ptr %b1, i32 %x.145
  store <4 x float> %v.144, ptr %p.146, align 16
  br label %if_done.110
if_done.110:
  ret void
}

attributes #0 = { nounwind "nvvm.maxntid"="128" }

