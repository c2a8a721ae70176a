# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The mean of drawn eyes and how they differ; from ``docs/fatigue_eyes.py``."""

# From 560 eyes, 16 x 8 pixels, int8 in base 85; SCALES: worth of a step.
SCALES = (
    0.01536, 0.002266, 0.001408, 0.002147, 0.00188, 0.001932, 0.002719, 0.002377, 0.002148)
MEAN = (
    '2q7{%K}141EgcRC4;Uvn3>Xju3>Oy-0rckK>HHBY0r0)9#Ms%-%hBE9<LLbw?ze%8u(PI^qQ~yz<oE&<=D(q`&c&'
    'aQqu&Mj_zw~l@8Q|y{{#8_3m_yTBq0|T2LAmBA~QKTG%_$RD<c*b9~c@ZIYdN2IygByIVu+y'
)
EYES = (
    '*5vgF86zt)GASPs1pxv9=l2&kQe<pySuzg;1_J;7>jWPyLS}z`S{do_@$K;S>GbpD%nd?HEb`I-1n%PN<lWcBtHk'
    'j2=+f8g@bKs7<lfib;^gAt>iGZz0{rdh=-}Po>+|;a{R0LC0r%_Z?&sy`@%a4y00991{q^hUgtXc3_xb(%?cUPb<'
    '?H?ro4@1h?(68{-rwBd=ic4%pwjUS9Ukx4@cJo6GTzPLtHk*-T4pr^5D;5pKLxwTt-<#gEMsy@NLFcnWHQRSqn(t'
    '@{T??uRCRKHYbeRNw2_Od-2n#$CR1x`SQg5^(XqDE@c{}NJXTs)K>EkV4F~`K5-T}BI3WJu)6C7*{PNJb<|9E!HW'
    '1;)yTHQD_}iVAw&@=!8T#h?`r**d`Q6RAm9W>?&(Fx(=nMVf01X-v^7;%aDh>Dx8W|Jv0T3M=F->=WSS1V!1P2KB'
    '3KAS7AS*E?4gLN91`i7Q3>6|F7YF+I{ssyV6&4El%jyy{M^05(PD3{-7zq6J^d4nnHz+YL843CU4h#G40#tJsvYV'
    'Npuh{(?1m@h`5JMu^zRZh{m#h5>2lm_81`PfGOK10>fxb5!@%ZrI{`m0g_z>pD)BzY35f%L80r>Le=kD<N3Kkg|7'
    'ZUm42K@H&^#TqQ7Zef^85;ZLL`66`M?NhY0OIKf87V<c7z^+pP)#!z{l&lK8#7E?@vWr>74YTK_Vxb{0S`rD$AQW'
    'a>4l}93O4iG5C#!P(Yfp^ETN;jC3hI@5e@4j<J{a27wX{rDJl*O4d~t#<=xx;3;XWs`3egM|JmLf=i}!42LAK#`3'
    'MOK@4eU|&cL|0%;D?z2@o3>5DyLv;>Nni&+-QzFfuG06%-H#@97x>(zx{!PGl?^BPJCI|0F9T$$`k^7$M2@85$1<'
    '0|*TzAK(8B6&3gO00$He{`>Us|MKb7<N6B<5gi^8_44iJ=jrbA{Rj{g5*;BA`0?xO@c9D-1_%rW1sNd>1n%DD{SF'
    'or{psN1_zMva^3uu#D=;x3=Do=C`2`ph=+O~IEDr|!%e?9vDL6MQ@)RZZ%QNBYqLRP$;R87~1`q?#-(z`yPw@2_4'
    'DTK}2>|=<>HH4!+}8N>@9Y~l0s8as^7HHD?)LZm`Trv_^!)JY>F4Y70Rsj2=J+Kpwza;%x2~wM%j*CO7bPbl_3rB'
    '&Juesn?Bnza85tE40q7E1e^yH!`uGLx^9Bk9=GzM$|JAOPuigFX_4(Z8@(n8%BNyP*#pnhD4jJIa1R^;#F*i3H_X'
    '7O|1rOlDFD)@UDJB^O^!EAu2@To68ZbUJ8v^m|^8Nx2APmsE'
)
