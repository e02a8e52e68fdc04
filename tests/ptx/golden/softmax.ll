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
  %l.55 = load <4 x float>, ptr %p.12, align 16
  %b.56 = insertelement <4 x float> poison, float %s.54, i64 0
  %b.57 = shufflevector <4 x float> %b.56, <4 x float> poison, <4 x i32> zeroinitializer
  %v.58 = fsub <4 x float> %l.55, %b.57
  %v.59 = fcmp ogt <4 x float> %v.58, splat (float 0x4056800000000000)
  %s.60 = select <4 x i1> %v.59, <4 x float> splat (float 0x4056800000000000), <4 x float> %v.58
  %v.61 = fcmp olt <4 x float> %s.60, splat (float 0xC05A000000000000)
  %s.62 = select <4 x i1> %v.61, <4 x float> splat (float 0xC05A000000000000), <4 x float> %s.60
  %f.63 = call <4 x float> @llvm.fma.v4f32(<4 x float> %s.62, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168001FC0000000))
  %v.64 = fsub <4 x float> %f.63, splat (float 0x4168001FC0000000)
  %f.65 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.64, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %s.62)
  %f.66 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.64, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %f.65)
  %c.67 = bitcast <4 x float> %f.63 to <4 x i32>
  %f.68 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56D83AE0000000), <4 x float> %f.66, <4 x float> splat (float 0x3F81241180000000))
  %f.69 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.68, <4 x float> %f.66, <4 x float> splat (float 0x3FA5554B80000000))
  %f.70 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.69, <4 x float> %f.66, <4 x float> splat (float 0x3FC5554880000000))
  %f.71 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.70, <4 x float> %f.66, <4 x float> splat (float 0x3FE0000000000000))
  %f.72 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.71, <4 x float> %f.66, <4 x float> splat (float 0x3FF0000000000000))
  %f.73 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.72, <4 x float> %f.66, <4 x float> splat (float 0x3FF0000000000000))
  %v.74 = shl <4 x i32> %c.67, splat (i32 22)
  %v.75 = and <4 x i32> %v.74, splat (i32 -8388608)
  %v.76 = shl <4 x i32> %c.67, splat (i32 23)
  %v.77 = sub <4 x i32> %v.76, %v.75
  %c.78 = bitcast <4 x i32> %v.75 to <4 x float>
  %v.79 = fmul <4 x float> %f.73, %c.78
  %c.80 = bitcast <4 x i32> %v.77 to <4 x float>
  %v.81 = fmul <4 x float> %v.79, %c.80
  %v.82 = fadd <4 x float> splat (float 0x0000000000000000), %v.81
  %s.83 = select i1 %in.7, <4 x float> %v.82, <4 x float> splat (float 0x0000000000000000)
  %half.84 = shufflevector <4 x float> %s.83, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %half.85 = shufflevector <4 x float> %s.83, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %v.86 = fadd <2 x float> %half.84, %half.85
  %half.87 = shufflevector <2 x float> %v.86, <2 x float> poison, <1 x i32> <i32 0>
  %half.88 = shufflevector <2 x float> %v.86, <2 x float> poison, <1 x i32> <i32 1>
  %v.89 = fadd <1 x float> %half.87, %half.88
  %sum.90 = extractelement <1 x float> %v.89, i64 0
  %shfl.91 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %sum.90, i32 16, i32 31)
  %v.92 = fadd float %sum.90, %shfl.91
  %shfl.93 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.92, i32 8, i32 31)
  %v.94 = fadd float %v.92, %shfl.93
  %shfl.95 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.94, i32 4, i32 31)
  %v.96 = fadd float %v.94, %shfl.95
  %shfl.97 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.96, i32 2, i32 31)
  %v.98 = fadd float %v.96, %shfl.97
  %shfl.99 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v.98, i32 1, i32 31)
  %v.100 = fadd float %v.98, %shfl.99
  br i1 %in.7, label %if.101, label %if_done.102
if.101:
  %base.103 = mul i32 %unit.8, 4
  %x.104 = mul i32 %row.6, 64
  %x.105 = add i32 %x.104, %base.103
  %p.106 = getelementptr float, ptr %b0, i32 %x.105
  %l.107 = load <4 x float>, ptr %p.106, align 16
  %b.108 = insertelement <4 x float> poison, float %s.54, i64 0
  %b.109 = shufflevector <4 x float> %b.108, <4 x float> poison, <4 x i32> zeroinitializer
  %v.110 = fsub <4 x float> %l.107, %b.109
  %v.111 = fcmp ogt <4 x float> %v.110, splat (float 0x4056800000000000)
  %s.112 = select <4 x i1> %v.111, <4 x float> splat (float 0x4056800000000000), <4 x float> %v.110
  %v.113 = fcmp olt <4 x float> %s.112, splat (float 0xC05A000000000000)
  %s.114 = select <4 x i1> %v.113, <4 x float> splat (float 0xC05A000000000000), <4 x float> %s.112
  %f.115 = call <4 x float> @llvm.fma.v4f32(<4 x float> %s.114, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168001FC0000000))
  %v.116 = fsub <4 x float> %f.115, splat (float 0x4168001FC0000000)
  %f.117 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.116, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %s.114)
  %f.118 = call <4 x float> @llvm.fma.v4f32(<4 x float> %v.116, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %f.117)
  %c.119 = bitcast <4 x float> %f.115 to <4 x i32>
  %f.120 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56D83AE0000000), <4 x float> %f.118, <4 x float> splat (float 0x3F81241180000000))
  %f.121 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.120, <4 x float> %f.118, <4 x float> splat (float 0x3FA5554B80000000))
  %f.122 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.121, <4 x float> %f.118, <4 x float> splat (float 0x3FC5554880000000))
  %f.123 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.122, <4 x float> %f.118, <4 x float> splat (float 0x3FE0000000000000))
  %f.124 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.123, <4 x float> %f.118, <4 x float> splat (float 0x3FF0000000000000))
  %f.125 = call <4 x float> @llvm.fma.v4f32(<4 x float> %f.124, <4 x float> %f.118, <4 x float> splat (float 0x3FF0000000000000))
  %v.126 = shl <4 x i32> %c.119, splat (i32 22)
  %v.127 = and <4 x i32> %v.126, splat (i32 -8388608)
  %v.128 = shl <4 x i32> %c.119, splat (i32 23)
  %v.129 = sub <4 x i32> %v.128, %v.127
  %c.130 = bitcast <4 x i32> %v.127 to <4 x float>
  %v.131 = fmul <4 x float> %f.125, %c.130
  %c.132 = bitcast <4 x i32> %v.129 to <4 x float>
  %v.133 = fmul <4 x float> %v.131, %c.132
  %b.134 = insertelement <4 x float> poison, float %v.100, i64 0
  %b.135 = shufflevector <4 x float> %b.134, <4 x float> poison, <4 x i32> zeroinitializer
  %v.136 = fdiv <4 x float> %v.133, %b.135
  %p.137 = getelementptr float, ptr %b1, i32 %x.105
  store <4 x float> %v.136, ptr %p.137, align 16
  br label %if_done.102
if_done.102:
  ret void
}

attributes #0 = { nounwind "nvvm.maxntid"="128" }

