// Classifies image files with an exported model: dotnet run MODEL_DIR IMAGE...
// In the C# that Mono compiles too.
using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

// What of lenet/c_api.h this program uses; size_t is UIntPtr, a pointer IntPtr.
static class Lenet
{
    [StructLayout(LayoutKind.Sequential)]
    public struct lenet_prediction
    {
        public long class_id;
        public IntPtr label;
        public float value;
        public float score;
        public IntPtr head;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct lenet_output
    {
        public IntPtr data;
        public UIntPtr size;
        public IntPtr shape;
        public UIntPtr rank;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct lenet_result
    {
        public IntPtr predictions;
        public UIntPtr count;
        public IntPtr attributes;
        public UIntPtr attribute_count;
        public lenet_output output;
        public IntPtr value_name;
        public IntPtr warning;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct lenet_pixels
    {
        public IntPtr data;
        public long height;
        public long width;
        public UIntPtr row_bytes;
        public int format;
    }

    // The code, and from its fourth byte the text, which ends with a zero.
    public const int ErrorBytes = 1024;

    const string Library = "lenet";

    [DllImport(Library)]
    public static extern IntPtr lenet_config_create();

    [DllImport(Library)]
    public static extern int lenet_config_set(
        IntPtr config,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string value,
        byte[] error);

    [DllImport(Library)]
    public static extern void lenet_config_free(IntPtr config);

    [DllImport(Library)]
    public static extern int lenet_classifier_create(
        IntPtr config,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string preprocess,
        out IntPtr classifier,
        byte[] error);

    [DllImport(Library)]
    public static extern void lenet_classifier_free(IntPtr classifier);

    // The threshold is null, or an array of one number.
    [DllImport(Library)]
    public static extern int lenet_classifier_classify_file(
        IntPtr classifier,
        byte[] bytes,
        UIntPtr size,
        UIntPtr topk,
        double[] threshold,
        out IntPtr result,
        byte[] error);

    [DllImport(Library)]
    public static extern int lenet_classifier_classify_pixels(
        IntPtr classifier,
        ref lenet_pixels pixels,
        UIntPtr topk,
        double[] threshold,
        out IntPtr result,
        byte[] error);

    [DllImport(Library)]
    public static extern void lenet_result_free(IntPtr result);

    public static void Check(int status, byte[] error)
    {
        if (status == 0) return;
        int end = Array.IndexOf(error, (byte)0, 4);
        throw new InvalidOperationException(
            Encoding.UTF8.GetString(error, 4, end - 4));
    }

    // Null for none.
    public static string Text(IntPtr text)
    {
        if (text == IntPtr.Zero) return null;
        int size = 0;
        while (Marshal.ReadByte(text, size) != 0) ++size;
        var bytes = new byte[size];
        Marshal.Copy(text, bytes, 0, size);
        return Encoding.UTF8.GetString(bytes);
    }
}

static class Program
{
    static void Print(string path, Lenet.lenet_result result)
    {
        Console.WriteLine(path);
        int size = Marshal.SizeOf<Lenet.lenet_prediction>();
        for (int i = 0; i < (int)result.count; ++i)
        {
            var one = Marshal.PtrToStructure<Lenet.lenet_prediction>(result.predictions + i * size);
            string value = ((double)one.value).ToString("F6", CultureInfo.InvariantCulture);
            string label = Lenet.Text(one.label);
            Console.WriteLine($"  {value}  class {one.class_id}" + (label == null ? "" : $"  {label}"));
        }
        for (int i = 0; i < (int)result.attribute_count; ++i)
        {
            IntPtr text = Marshal.ReadIntPtr(result.attributes, i * IntPtr.Size);
            Console.WriteLine("  " + Lenet.Text(text));
        }
    }

    static int Main(string[] arguments)
    {
        if (arguments.Length < 2)
        {
            Console.Error.WriteLine("usage: dotnet run MODEL_DIR IMAGE...");
            return 2;
        }
        var error = new byte[Lenet.ErrorBytes];
        IntPtr config = Lenet.lenet_config_create();
        Lenet.Check(Lenet.lenet_config_set(config, "model_dir", arguments[0], error), error);
        Lenet.Check(Lenet.lenet_classifier_create(config, null, out IntPtr classifier, error), error);
        Lenet.lenet_config_free(config);
        for (int i = 1; i < arguments.Length; ++i)
        {
            byte[] bytes = File.ReadAllBytes(arguments[i]);
            Lenet.Check(
                Lenet.lenet_classifier_classify_file(
                    classifier, bytes, (UIntPtr)bytes.Length, UIntPtr.Zero, null, out IntPtr result, error),
                error);
            Print(arguments[i], Marshal.PtrToStructure<Lenet.lenet_result>(result));
            Lenet.lenet_result_free(result);
        }
        Lenet.lenet_classifier_free(classifier);
        return 0;
    }
}
